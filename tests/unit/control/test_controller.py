"""From configuration and rollouts to snapshots; a new configuration takes effect whole or not at all."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from proxy.control import configuration
from proxy.control.configuration import Loaded
from proxy.control.controller import Controller, _longest
from proxy.control.reload import Reloader
from proxy.control.sharing import Sharing
from proxy.model.errors import ConflictError, StoreFormatError, StoreUnavailableError
from proxy.model.link import Trip
from proxy.model.measures import SLOT
from proxy.model.snapshot import RolloutSpec, Snapshot
from proxy.model.words import Phase, Verb
from proxy.storage import keys, lastgood
from proxy.telemetry.families import LEADER, REPLICAS, STORE_UP, WEIGHT
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import stop
from tests.certificates import Authority
from tests.fakes import FakeClock
from tests.unit.control.world import CONFIG, Companions, Store, loaded, open_store, outcomes
from tests.valkey import Valkey

TRIP = Trip("refunds", "v1", 1, "10 connect failures in a row", 0.0)
SECOND = """\
  - name: claims
    match: {path_prefix: /claims}
    legacy: human
    rollout: {agent: agent, version: v1, salt: s}
"""


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    async with open_store(valkey) as opened:
        yield opened


class Scene:
    def __init__(self, store: Store, folder: Path, config: Loaded | None = None, source: str = "here") -> None:
        self.metrics, self.published, self.folder, self.clock = Metrics(), list[Snapshot](), folder, FakeClock()
        self.sharing = Sharing(Companions(store, self.clock, source), self.metrics, self.clock, source)
        self.controller = Controller(
            config or loaded(),
            store,
            self.sharing,
            self.metrics,
            self.clock,
            self.published.append,
            folder,
            lastgood.find(folder),
        )

    @property
    def now(self) -> Snapshot:
        return self.published[-1]

    def rollout(self, route: str = "refunds") -> RolloutSpec:
        (found,) = (each.rollout for each in self.now.routes if each.name == route)
        assert found is not None
        return found

    async def look(self, seconds: int = 1) -> None:
        """As the loops do, once each second."""
        for _ in range(seconds):
            self.clock.advance(1)
            await self.controller.renew()
            await self.controller.follow()
            await self.controller.look()

    def gauge(self, family: str, *labels: str) -> float | None:
        return self.metrics._gauges[family].get(labels)


async def started(store: Store, folder: Path, config: Loaded | None = None, *, patient: bool = False) -> Scene:
    """Its loops are stopped: tests turn the crank."""
    scene = Scene(store, folder, config)
    await scene.controller.start(patient=patient)
    await scene.controller.close()
    return scene


def said(logs: list[EventDict], about: str) -> list[str]:
    return [line["event"] for line in logs if line["event"].startswith(about)]


@contextmanager
def nothing_published(scene: Scene) -> Iterator[None]:
    before = len(scene.published)
    yield
    assert len(scene.published) == before


async def test_it_publishes_once_when_all_rollouts_have_said_where_they_stand(store: Store, tmp_path: Path) -> None:
    scene = await started(store, tmp_path, loaded(CONFIG + SECOND))
    assert [snapshot.number for snapshot in scene.published] == [1]
    assert [route.name for route in scene.now.routes] == ["refunds", "plain", "claims"]
    assert (scene.rollout().stage, scene.rollout().weight, scene.rollout().phase) == ("shadow", 0, Phase.PROGRESSING)


async def test_a_stage_that_moves_gives_a_new_snapshot_with_a_higher_number(store: Store, tmp_path: Path) -> None:
    scene = await started(store, tmp_path)
    await store.fill("shadow")
    await scene.look(11)
    assert (scene.now.number, scene.rollout().stage, scene.rollout().weight) == (2, "canary", 5_000)
    assert scene.gauge(WEIGHT.name, "refunds") == 5.0


async def test_while_nothing_moves_nothing_is_published(store: Store, tmp_path: Path) -> None:
    scene = await started(store, tmp_path)
    with nothing_published(scene):
        await scene.look(20)


async def test_a_trip_is_published_at_once_and_survives_a_restart(store: Store, tmp_path: Path) -> None:
    scene = await at_canary(store, tmp_path)
    scene.controller.trip(TRIP)
    assert (scene.rollout().phase, scene.rollout().weight) == (Phase.DEGRADED, 0)
    await scene.controller.courses["refunds"].save()
    later = await started(store, tmp_path)
    assert (later.rollout().phase, later.rollout().weight) == (Phase.DEGRADED, 0)
    assert later.now.number > scene.now.number


async def test_what_workers_report_reaches_the_guard(store: Store, tmp_path: Path) -> None:
    scene = await at_canary(store, tmp_path)
    await scene.look()
    for seq in range(1, 60):
        failing = seq > 20
        slot = int(scene.clock.monotonic() / SLOT)
        scene.clock.advance(SLOT)
        scene.controller.observe(outcomes(seq, slot=slot, agent_failed=50 * failing, agent_ok=50, legacy_ok=1_000))
        scene.controller.watch()
    assert scene.rollout().phase is Phase.DEGRADED
    await scene.controller.courses["refunds"].save()  # under way: a loop must not end meanwhile


async def test_a_trip_for_a_route_that_is_none_changes_nothing(store: Store, tmp_path: Path) -> None:
    scene = await started(store, tmp_path)
    with nothing_published(scene):
        scene.controller.trip(TRIP._replace(route="gone"))


async def test_a_store_that_goes_and_comes_is_said_once_each_and_shown(store: Store, tmp_path: Path) -> None:
    scene = await started(store, tmp_path)
    await scene.look()
    assert scene.gauge(STORE_UP.name) == 1.0
    with capture_logs() as logs:
        store.away = True
        await scene.look(3)
        assert scene.gauge(STORE_UP.name) == 0.0
        store.away = False
        await scene.look()
    assert said(logs, "rollouts") == ["rollouts_held", "rollouts_go_on"]
    assert said(logs, "replicas") == ["replicas_out_of_reach", "replicas_in_reach"]
    assert scene.gauge(STORE_UP.name) == 1.0


async def test_a_first_start_without_the_store_fails(store: Store, tmp_path: Path) -> None:
    store.away = True
    with pytest.raises(StoreUnavailableError):
        await Scene(store, tmp_path).controller.start(patient=False)


async def test_a_resumed_start_without_the_store_goes_on_with_what_ran_last(store: Store, tmp_path: Path) -> None:
    before = await at_canary(store, tmp_path)
    store.away = True
    scene = await started(store, tmp_path, patient=True)
    assert scene.now.routes == before.now.routes
    assert scene.now.number == before.now.number + 1
    store.away = False
    await scene.look()
    assert scene.controller.courses["refunds"].settled


async def test_garbage_in_the_store_stops_the_start_and_stays_as_it_is(store: Store, tmp_path: Path) -> None:
    redis = store.redis
    await redis.set(keys.state("refunds"), b"someone else's")
    with pytest.raises(StoreFormatError, match="refunds"):
        await Scene(store, tmp_path).controller.start(patient=False)
    assert await redis.get(keys.state("refunds")) == b"someone else's"


async def test_garbage_under_one_route_does_not_hold_up_the_others(store: Store, tmp_path: Path) -> None:
    scene = await started(store, tmp_path, loaded(CONFIG + SECOND))
    await store.redis.set(keys.state("refunds"), b"someone else's")
    with capture_logs() as logs:
        await scene.look(3)
    assert said(logs, "rollout") == ["rollout_held"]
    claims = scene.controller.courses["claims"].state
    assert claims is not None
    assert claims.soaked == 2.0


# Several replicas


async def two(store: Store, folder: Path) -> tuple[Scene, Scene]:
    """The first one holds the lease, and both know of each other."""
    scenes = (Scene(store, folder / "one", source="one"), Scene(store, folder / "two", source="two"))
    for scene in scenes:
        await scene.controller.start(patient=False)
        await stop(*scene.controller._tasks)
    await scenes[0].controller.renew()
    assert [(scene.controller.leads, scene.controller.replicas) for scene in scenes] == [(True, 2), (False, 2)]
    return scenes


async def test_a_rollback_anywhere_is_obeyed_by_who_only_follows(store: Store, tmp_path: Path) -> None:
    first, second = await two(store, tmp_path)
    await second.controller.courses["refunds"].command(Verb.PROMOTE, actor="ana", reason="", full=False)
    await first.controller.follow()
    assert first.rollout().weight == second.rollout().weight == 5_000
    second.controller.trip(TRIP)
    await second.controller.courses["refunds"].save()
    await first.controller.follow()
    assert (first.rollout().phase, first.rollout().weight) == (Phase.DEGRADED, 0)


async def test_who_decides_is_shown_and_passes_on_at_its_end(store: Store, tmp_path: Path) -> None:
    first, second = await two(store, tmp_path)
    assert [scene.gauge(LEADER.name) for scene in (first, second)] == [1.0, 0.0]
    assert [scene.gauge(REPLICAS.name) for scene in (first, second)] == [2.0, 2.0]
    await store.fill("shadow")
    await first.look(7)
    await first.controller.close()
    await second.controller.renew()
    assert second.controller.leads
    assert (second.gauge(LEADER.name), second.gauge(REPLICAS.name)) == (1.0, 1.0)
    await second.look(3)
    soaked = second.controller.courses["refunds"].state
    assert soaked is not None
    assert soaked.soaked == 6.0 + 2.0


async def test_while_the_store_is_away_nobody_knows_who_decides(store: Store, tmp_path: Path) -> None:
    _, second = await two(store, tmp_path)
    store.away = True
    await second.controller.renew()
    assert second.controller.leads is None
    store.away = False
    await second.controller.renew()
    assert second.controller.leads is False


async def test_of_two_operators_at_once_one_is_told_that_the_other_was_faster(store: Store, tmp_path: Path) -> None:
    scenes = await two(store, tmp_path)
    release = store.hold("save")
    promotions = [
        asyncio.get_running_loop().create_task(
            scene.controller.courses["refunds"].command(Verb.PROMOTE, actor=name, reason="", full=False)
        )
        for scene, name in zip(scenes, ("ana", "bo"), strict=True)
    ]
    while store.held < 2:
        await asyncio.sleep(0)
    release.set()
    results = await asyncio.gather(*promotions, return_exceptions=True)
    assert [type(result) for result in results].count(ConflictError) == 1
    for scene in scenes:
        await scene.controller.follow()
        assert scene.rollout().stage == "canary"
    assert await store.kinds() == ["begin", "promote"]


async def test_what_arrives_at_one_replica_is_judged_by_the_other(store: Store, tmp_path: Path) -> None:
    """The agent fails where the second one sends its requests, and the first one decides."""
    first, second = await two(store, tmp_path)
    await first.controller.courses["refunds"].command(Verb.PROMOTE, actor="ana", reason="", full=False)
    for scene in (first, second):
        await scene.look(0)
        await scene.controller.follow()
        await scene.controller.look()
        scene.controller.watch()
    for seq in range(1, 100):
        slot = int(second.clock.monotonic() / SLOT)
        second.controller.observe(outcomes(seq, slot=slot, agent_failed=50 * (seq > 20), agent_ok=50, legacy_ok=1_000))
        for scene in (first, second):
            scene.clock.advance(SLOT)
            scene.controller.watch()
            if seq % 2:
                await scene.controller.renew()
                await scene.controller.share()
    assert second.rollout().phase is Phase.PROGRESSING, "it waits for who decides"
    assert first.rollout().phase is Phase.DEGRADED


async def test_who_is_alone_tells_nobody_anything(store: Store, tmp_path: Path) -> None:
    scene = await at_canary(store, tmp_path)
    await scene.look()
    scene.controller.observe(outcomes(legacy_ok=10))
    scene.controller.watch()
    await scene.controller.share()
    assert await store.redis.keys("*arrivals*") == []


# A new configuration


async def test_a_new_configuration_is_one_new_snapshot(store: Store, tmp_path: Path) -> None:
    scene = await started(store, tmp_path)
    text = CONFIG.replace(":9001", ":9005") + SECOND
    await scene.controller.apply(loaded(text))
    assert len(scene.published) == 2
    assert [upstream.port for upstream in scene.now.upstreams] == [9005, 9002]
    assert scene.rollout("claims").stage == "shadow"


async def test_it_reaches_a_restart_by_way_of_the_last_good_one(store: Store, tmp_path: Path) -> None:
    scene = await at_canary(store, tmp_path)
    await scene.controller.apply(loaded(CONFIG.replace(":9001", ":9005")))
    assert lastgood.read(tmp_path) == scene.now


async def test_a_credential_that_changes_on_disk_reaches_the_workers(store: Store, tmp_path: Path) -> None:
    (secret := tmp_path / "token").write_text("one\n")
    header = f'"http://127.0.0.1:9002", set_headers: {{authorization: "Bearer ${{file:{secret}}}"}}'
    (file := tmp_path / "crossfade.yaml").write_text(CONFIG.replace('"http://127.0.0.1:9002"', header))
    scene = await started(store, tmp_path, configuration.read(file))
    reloader = Reloader(file, scene.controller.loaded, scene.controller.apply, scene.metrics)
    reloader.start()
    secret.write_text("two\n")
    async with asyncio.timeout(10):
        while len(scene.published) < 2:
            await asyncio.sleep(0.01)
    await reloader.close()
    assert [each.upstreams[1].set_headers for each in scene.published] == [
        (("authorization", "Bearer one"),),
        (("authorization", "Bearer two"),),
    ]


async def test_a_renewed_certificate_is_a_new_snapshot_with_another_digest(store: Store, tmp_path: Path) -> None:
    Authority(tmp_path).write()
    text = f"listen: {{tls: {{cert_file: {tmp_path}/tls.crt, key_file: {tmp_path}/tls.key}}}}\n{CONFIG}"
    scene = await started(store, tmp_path, loaded(text))
    with nothing_published(scene):
        await scene.controller.apply(loaded(text))
    Authority(tmp_path).write()
    await scene.controller.apply(loaded(text))
    first, second = (each.listen.tls for each in scene.published)
    assert first is not None
    assert second is not None
    assert first.digest != second.digest
    assert replace(first, digest="") == replace(second, digest="")


async def test_a_new_version_takes_the_traffic_from_the_old_one(store: Store, tmp_path: Path) -> None:
    scene = await at_canary(store, tmp_path)
    await scene.controller.apply(loaded(CONFIG.replace("version: v1", "version: v2")))
    rollout = scene.rollout()
    assert (rollout.version, rollout.stage, rollout.weight, rollout.epoch) == ("v2", "shadow", 0, 2)


async def test_with_the_store_away_a_new_version_waits_without_traffic(store: Store, tmp_path: Path) -> None:
    scene = await at_canary(store, tmp_path)
    store.away = True
    await scene.controller.apply(loaded(CONFIG.replace("version: v1", "version: v2").replace(":9001", ":9005")))
    assert (scene.rollout().version, scene.rollout().phase, scene.rollout().weight) == ("v2", Phase.STAGING, 0)
    assert scene.now.upstreams[0].port == 9005
    store.away = False
    await scene.look()
    assert (scene.rollout().stage, scene.rollout().phase) == ("shadow", Phase.PROGRESSING)


async def test_a_route_that_goes_takes_its_metrics_and_leaves_its_state(store: Store, tmp_path: Path) -> None:
    scene = await at_canary(store, tmp_path)
    only_plain = CONFIG[: CONFIG.index("  - name: refunds")] + CONFIG[CONFIG.index("  - name: plain") :]
    await scene.controller.apply(loaded(only_plain))
    assert [route.name for route in scene.now.routes] == ["plain"]
    assert scene.gauge(WEIGHT.name, "refunds") is None
    await scene.controller.apply(loaded())
    assert scene.rollout().stage == "canary"


async def test_garbage_under_a_new_route_refuses_the_whole_configuration(store: Store, tmp_path: Path) -> None:
    scene = await started(store, tmp_path)
    await store.redis.set(keys.state("claims"), b"someone else's")
    with nothing_published(scene), pytest.raises(StoreFormatError):
        await scene.controller.apply(loaded(CONFIG.replace(":9001", ":9005") + SECOND))
    assert scene.controller.loaded.config == loaded().config


async def test_a_disk_that_takes_nothing_keeps_no_snapshot_back(store: Store, tmp_path: Path) -> None:
    scene = await started(store, tmp_path)
    (tmp_path / "last-good" / "configuration.json").unlink()
    (tmp_path / "last-good").rmdir()
    (tmp_path / "last-good").write_text("in the way")
    with capture_logs() as logs:
        await scene.controller.apply(loaded(CONFIG.replace(":9001", ":9005")))
    assert scene.now.upstreams[0].port == 9005
    assert [line["event"] for line in logs] == ["last_good_not_written"]


async def at_canary(store: Store, folder: Path) -> Scene:
    scene = await started(store, folder)
    await scene.controller.courses["refunds"].command(Verb.PROMOTE, actor="ana", reason="", full=False)
    assert scene.rollout().weight == 5_000
    return scene


def test_a_request_may_wait_for_its_turn_and_be_tried_again_before_its_timeouts_end_it() -> None:
    """Else an outage by timeouts, which legacy shows last, is the agent's fault meanwhile."""
    assert _longest(loaded(), "refunds") == 5 + 1 + 60 + 1
    slow = CONFIG.replace(
        ':9001"}', ':9001", queue_timeout: 20s, retry: {attempts: 2, backoff: 1s}, timeouts: {connect: 2s}}'
    )
    assert _longest(loaded(slow), "refunds") == 3 * (20 + 2) + 1 + 2 + 60 + 1
