"""The documents of the admin API."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.control.controller import Controller
from proxy.control.operations import ControlOperations
from proxy.control.reload import Reloader
from proxy.model.errors import ConfigError
from proxy.model.words import Verb
from proxy.telemetry.metrics import Metrics
from tests.fakes import FakeClock
from tests.unit.control.world import CONFIG, Store, loaded, open_store
from tests.valkey import Valkey


class Scene:
    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.file = store, folder / "crossfade.yaml"
        self.file.write_text(CONFIG)
        self.workers, self.draining = 1, False
        metrics = Metrics()
        self.controller = Controller(loaded(), store, metrics, FakeClock(), lambda _: None, folder)
        reloader = Reloader(self.file, loaded(), self.controller.apply, metrics)
        self.operations = ControlOperations(self.controller, reloader, lambda: self.workers, lambda: self.draining)


@pytest.fixture
async def scene(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_store(valkey) as store:
        scene = Scene(store, tmp_path)
        await scene.controller.start(patient=False)
        await scene.controller.close()
        yield scene


async def test_a_route_with_a_rollout(scene: Scene) -> None:
    await scene.store.fill("shadow", agreeing=90)
    await scene.controller.look(1.0)
    document = scene.operations.route("refunds")
    assert document is not None
    gates, guard = document.pop("gates"), document.pop("guard")
    assert document == {
        "name": "refunds",
        "legacy": "human",
        "agent": "agent",
        "version": "v1",
        "phase": "progressing",
        "stage": "shadow",
        "weight": 0.0,
        "shadow_percent": 100.0,
        "since": "2027-01-15T08:00:00.000Z",
        "reason": "version v1 begins",
        "revision": 1,
        "totals": {"legacy": {"requests": 90, "failed": 0}, "agent": {"requests": 90, "failed": 0}},
        "agreement": {
            "matched": 90,
            "mismatched": 0,
            "incomparable": 0,
            "ratio": 1.0,
            "lower_bound": document["agreement"]["lower_bound"],
        },
    }
    assert 0.9 < document["agreement"]["lower_bound"] < 1.0
    assert [(gate["name"], gate["verdict"]) for gate in gates][:2] == [
        ("soak", "inconclusive"),
        ("min_samples", "passed"),
    ]
    assert gates[0].keys() == {"name", "verdict", "value", "bound", "threshold", "samples", "reason"}
    assert guard == []


async def test_a_route_without_one_has_the_same_members(scene: Scene) -> None:
    rollout, plain = scene.operations.routes()
    assert plain.keys() == rollout.keys()
    assert (plain["name"], plain["agent"], plain["phase"], plain["weight"]) == ("plain", None, None, 0.0)


async def test_a_verb_answers_the_route_as_it_then_is(scene: Scene) -> None:
    document = await scene.operations.command("refunds", Verb.PROMOTE, actor="ana", reason="I am sure")
    assert (document["stage"], document["weight"], document["reason"]) == ("canary", 5.0, "I am sure")


@pytest.mark.parametrize("route", ["plain", "none"])
async def test_a_verb_without_a_rollout_is_a_key_error(scene: Scene, route: str) -> None:
    with pytest.raises(KeyError):
        await scene.operations.command(route, Verb.PAUSE, actor="ana", reason="")


async def test_reload_says_what_it_did(scene: Scene) -> None:
    assert await scene.operations.reload(actor="ana") == {"result": "unchanged", "snapshot": 1}
    scene.file.write_text(CONFIG.replace(":9001", ":9005"))
    assert await scene.operations.reload(actor="ana") == {"result": "applied", "snapshot": 2}
    scene.file.write_text("routes: []")
    with pytest.raises(ConfigError):
        await scene.operations.reload(actor="ana")


async def test_it_is_ready_when_there_is_a_worker(scene: Scene) -> None:
    assert scene.operations.unready() == []
    scene.workers = 0
    assert scene.operations.unready() == ["no worker accepts requests"]
    scene.draining = True
    assert scene.operations.unready() == ["draining"]


async def test_it_is_not_ready_while_an_upstream_is_not_verified(scene: Scene) -> None:
    secure = '"https://127.0.0.1:9002", tls: {insecure_skip_verify: true}'
    await scene.controller.apply(loaded(CONFIG.replace('"http://127.0.0.1:9002"', secure)))
    blind = "the certificate of the upstream agent is not verified (insecure_skip_verify)"
    assert scene.operations.unready() == [blind]
    scene.workers = 0
    assert scene.operations.unready() == ["no worker accepts requests", blind]


async def test_the_configuration_is_shown_without_its_secrets(scene: Scene) -> None:
    header = '"http://127.0.0.1:9002", set_headers: {authorization: Bearer hunter2}'
    text = "override: {secret: hunter2-hunter2-hunter2}\n" + CONFIG.replace('"http://127.0.0.1:9002"', header)
    await scene.controller.apply(loaded(text))
    document = scene.operations.config()
    assert document["override"] == {"secret": "***"}
    assert "hunter2" not in str(document)


async def test_the_configuration_is_that_which_runs(scene: Scene) -> None:
    assert scene.operations.config()["upstreams"]["human"]["url"] == "http://127.0.0.1:9001"
    assert scene.operations.route("none") is None
