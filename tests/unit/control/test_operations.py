"""The documents of the admin API."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy.control.controller import Controller
from proxy.control.operations import ControlOperations
from proxy.control.reload import Reloader
from proxy.control.sharing import STALE, Sharing
from proxy.model.errors import ConfigError
from proxy.model.rollouts import Batch, Evidence, Report
from proxy.model.words import Verb
from proxy.routing.bucket import bucketer
from proxy.routing.decide import decide
from proxy.telemetry.metrics import Metrics
from tests.fakes import FakeClock
from tests.unit.control.world import CONFIG, Store, loaded, open_store
from tests.valkey import Valkey


class Alone:
    """The only replica. `leads` is what the store says of it."""

    def __init__(self) -> None:
        self.leads = True

    async def lead(self) -> int:
        return 1

    async def release(self) -> None: ...

    async def tell(self, reports: Sequence[Report]) -> None: ...

    async def hear(self, routes: Sequence[str]) -> list[Report]:
        return []


class Scene:
    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.file = store, folder / "crossfade.yaml"
        self.file.write_text(CONFIG)
        self.workers, self.draining = 1, False
        self.clock, self.replicas, metrics = FakeClock(), Alone(), Metrics()
        sharing = Sharing(self.replicas, metrics, self.clock, "a")
        self.controller = Controller(loaded(), store, sharing, metrics, self.clock, lambda _: None, folder)
        reloader = Reloader(self.file, loaded(), self.controller.apply, metrics)
        self.operations = ControlOperations(self.controller, reloader, lambda: self.workers, lambda: self.draining)


def told(scene: Scene) -> dict[str, Any]:
    document = scene.operations.route("refunds")
    assert document is not None
    return document


@pytest.fixture
async def scene(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_store(valkey) as store:
        scene = Scene(store, tmp_path)
        await scene.controller.start(patient=False)
        await scene.controller.close()
        yield scene


async def test_a_route_with_a_rollout(scene: Scene) -> None:
    scene.store.quiet = True
    await scene.store.fill("shadow", agreeing=90)
    await scene.controller.renew()
    await scene.controller.look()
    document = scene.operations.route("refunds")
    assert document is not None
    gates, bound = document.pop("gates"), document["agreement"].pop("lower_bound")
    assert document.pop("guard") == []
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
        "actor": "configuration",
        "revision": 1,
        "waits_for": document["waits_for"],
        "next": {"stage": "canary", "weight": 5.0, "soak": 10.0},
        "holdback": 0.0,
        "totals": {
            "legacy": {"requests": 90, "failed": 0, "slow": 0},
            "agent": {"requests": 90, "failed": 0, "slow": 0},
        },
        "agreement": {"matched": 90, "mismatched": 0, "incomparable": 0, "ratio": 1.0},
        "kappa": {"value": None, "lower_bound": -1.0, "upper_bound": 1.0},
        "confusion": [],
        "classes": [],
        "misses": {"pairs": 0, "cost": 0.0, "cost_per_pair": 0.0},
        "consistency": {"repeats": 0, "alike": 0, "ratio": None, "lower_bound": None},
        "fields": [],
        "segments": [],
        "direction": {"agent_yes": 0, "agent_no": 0},
        "fallback_rate": None,
        "escalation_rate": 0.0,
        "key_coverage": {"requests": 0, "no_key": 0, "ratio": None},
        "sample_ratio": {"legacy": 0, "agent": 0, "ratio": None, "expected": 0.0},
        "replica": {"leads": True, "alive": 1},
    }
    assert document["waits_for"].startswith("soak (")
    assert 0.9 < bound < 1.0
    assert [(gate["name"], gate["verdict"]) for gate in gates][:2] == [
        ("soak", "inconclusive"),
        ("min_samples", "passed"),
    ]
    assert gates[0].keys() == {
        "name",
        "verdict",
        "value",
        "bound",
        "threshold",
        "samples",
        "reason",
        "dry_run",
    }


async def test_a_route_without_one_has_the_same_members(scene: Scene) -> None:
    rollout, plain = scene.operations.routes()
    assert plain.keys() == rollout.keys()
    assert (plain["name"], plain["agent"], plain["phase"], plain["weight"]) == ("plain", None, None, 0.0)


async def test_who_decides_is_not_known_until_the_store_has_told(scene: Scene) -> None:
    scene.replicas.leads = False
    scene.clock.advance(STALE)
    assert told(scene)["replica"] == {"leads": None, "alive": 1}
    await scene.controller.renew()
    assert told(scene)["replica"] == {"leads": False, "alive": 1}


async def test_segments_are_judged_as_their_gate_judges_them(scene: Scene) -> None:
    gates = "{min_samples: 10, agreement: 50%, segments: {by: $.type, agreement: 80%}}"
    await scene.controller.apply(loaded(CONFIG.replace("{min_samples: 10, agreement: 50%}", gates)))
    seen = Evidence(matched=140, mismatched=10, segments={"late": (100, 0), "broken": (40, 10)})
    await scene.store._pairs.write([Batch("refunds", "a", 1, {("v1", 2, "shadow"): seen})])
    await scene.controller.look()
    document = told(scene)
    assert [(segment["name"], segment["verdict"]) for segment in document["segments"]] == [
        ("broken", "inconclusive"),
        ("late", "passed"),
    ]
    assert next(gate for gate in document["gates"] if gate["name"] == "segments")["verdict"] == "inconclusive"


async def test_a_verb_answers_the_route_as_it_then_is(scene: Scene) -> None:
    document = await scene.operations.command("refunds", Verb.PROMOTE, actor="ana", reason="I am sure")
    assert (document["stage"], document["weight"], document["reason"]) == ("canary", 5.0, "I am sure")


@pytest.mark.parametrize("route", ["plain", "none"])
async def test_a_verb_without_a_rollout_is_a_key_error(scene: Scene, route: str) -> None:
    with pytest.raises(KeyError):
        await scene.operations.command(route, Verb.PAUSE, actor="ana", reason="")


async def test_an_explanation_is_what_the_workers_snapshot_says(scene: Scene) -> None:
    await scene.operations.command("refunds", Verb.PROMOTE, actor="ana", reason="")
    document = scene.operations.explain("refunds", b"10.0.0.1")
    bucket = bucketer("s")(b"10.0.0.1")
    assert document is not None
    assert (document["bucket"], document["now"]["stage"], document["now"]["weight"]) == (bucket, "canary", 5.0)
    assert document["now"]["arm"] == decide(5_000, bucket, tripped=False).arm
    assert [(at["stage"], at["weight"]) for at in document["stages"]] == [
        ("shadow", 0.0),
        ("canary", 5.0),
        ("full", 100.0),
    ]
    assert document["enters"] == ("canary" if bucket < 5_000 else "full")
    assert document["sources"] == [{"kind": "client_ip", "name": None, "alike": True}]
    assert (document["split"], document["override"], document["holdback"]) == (False, False, 0.0)


async def test_after_a_rollback_everybody_is_legacy_s_and_the_explanation_says_why(scene: Scene) -> None:
    await scene.operations.command("refunds", Verb.PROMOTE, actor="ana", reason="", full=True)
    await scene.operations.command("refunds", Verb.ABORT, actor="ana", reason="odd answers")
    document = scene.operations.explain("refunds", b"10.0.0.1")
    assert document is not None
    assert (document["phase"], document["why"], document["now"]["arm"]) == ("degraded", "odd answers", "legacy")
    assert document["now"]["sentence"] == "the rollout is rolled back, so legacy serves everybody until `retry`"


async def test_a_fixed_split_and_a_holdback_are_explained(scene: Scene) -> None:
    a, b = CONFIG.index("      stages:"), CONFIG.index("  - name: plain")
    text = CONFIG[:a] + "      split: {weight: 99}\n      holdback: 1\n" + CONFIG[b:]
    await scene.controller.apply(loaded(f"override: {{secret: {'x' * 16}}}\n{text}"))
    await scene.controller.look()
    held = next(key for key in (b"%d" % number for number in range(10_000)) if bucketer("s")(key) >= 99_000)
    document = scene.operations.explain("refunds", held)
    assert document is not None
    assert (document["held_back"], document["now"]["arm"], document["now"]["weight"]) == (True, "legacy", 99.0)
    assert (document["split"], document["override"], document["holdback"]) == (True, True, 1.0)
    assert (document["stages"], document["enters"]) == ([], None)


@pytest.mark.parametrize("route", ["plain", "none"])
async def test_without_a_rollout_there_is_nothing_to_explain(scene: Scene, route: str) -> None:
    assert scene.operations.explain(route, b"10.0.0.1") is None


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
