"""One rollout on its way: what is saved first, what takes effect first, and who wins."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from proxy.control.configuration import Loaded
from proxy.control.course import CHECKPOINT, MAX_ELAPSED, Course
from proxy.model.errors import CommandError, ConflictError, StoreUnavailableError
from proxy.model.link import Trip
from proxy.model.snapshot import Placement
from proxy.model.words import Phase, Verb
from proxy.rollout import advance
from proxy.telemetry.metrics import ROLLBACKS, Metrics
from tests.fakes import FakeClock
from tests.unit.control.world import CONFIG, Store, loaded, open_store
from tests.valkey import Valkey


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    async with open_store(valkey) as opened:
        yield opened


class Scene:
    """A course of the small configuration, and how often traffic had to change."""

    def __init__(self, store: Store, config: Loaded | None = None, fallback: Placement | None = None) -> None:
        self.store, self.config, self.metrics, self.clock = store, config or loaded(), Metrics(), FakeClock()
        self.moves = 0
        self.course = Course(
            self.config.plans["refunds"],
            self.config.rollouts["refunds"],
            store,
            self.metrics,
            self.clock,
            self._moved,
            fallback,
        )

    def _moved(self) -> None:
        self.moves += 1

    @property
    def where(self) -> tuple[str, str, int]:
        placement = self.course.placement
        return placement.phase.value, placement.stage, placement.weight

    async def look(self, seconds: float = 1.0) -> None:
        self.clock.advance(seconds)
        await self.course.look(seconds)

    async def hold(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.look()

    def rollbacks(self, reason: str) -> float:
        return self.metrics._counters[ROLLBACKS.name].get(("refunds", reason), 0)


async def at_canary(store: Store) -> Scene:
    scene = Scene(store)
    await scene.course.settle()
    await store.fill("shadow")
    await scene.hold(10)
    assert scene.where == ("progressing", "canary", 5_000)
    return scene


def trip(epoch: int = 1, version: str = "v1") -> Trip:
    return Trip("refunds", version, epoch, "10 connect failures in a row", 0.0)


FAILING = {("agent", "failed"): 50, ("agent", "ok"): 0, ("legacy", "ok"): 1_000}


# Beginning and going on


async def test_a_rollout_begins_at_its_first_stage_and_the_store_knows(store: Store) -> None:
    scene = Scene(store)
    assert scene.where == ("staging", "", 0)
    await scene.course.settle()
    assert scene.where == ("progressing", "shadow", 0)
    assert await store.kinds() == ["begin"]
    assert scene.moves == 1


async def test_it_moves_on_when_the_soak_is_over_and_the_gates_pass(store: Store) -> None:
    scene = await at_canary(store)
    assert await store.kinds() == ["begin", "advance"]
    assert (await store.stored()).stage_name == "canary"
    assert scene.moves == 2


async def test_it_stays_without_evidence_however_long_it_holds(store: Store) -> None:
    scene = Scene(store)
    await scene.course.settle()
    await scene.hold(60)
    assert scene.where == ("progressing", "shadow", 0)
    assert {gate.name: gate.verdict.value for gate in scene.course.gates}["min_samples"] == "inconclusive"


async def test_a_restart_resumes_and_time_away_adds_no_soak(store: Store) -> None:
    first = Scene(store)
    await first.course.settle()
    await store.fill("shadow")
    await first.hold(8)
    await first.course.checkpoint()

    second = Scene(store)
    second.clock.advance(3_600)
    await second.course.settle()
    await second.look(0.5)
    assert second.where == ("progressing", "shadow", 0)
    assert second.course.state is not None
    assert second.course.state.soaked == pytest.approx(8.5)
    await second.hold(2)
    assert second.where == ("progressing", "canary", 5_000)


async def test_a_crash_costs_no_more_soak_than_one_checkpoint(store: Store) -> None:
    scene = Scene(store)
    await scene.course.settle()
    await scene.hold(7)
    assert (await store.stored()).soaked == pytest.approx(CHECKPOINT)


async def test_a_process_that_was_stopped_gains_no_soak_from_it(store: Store) -> None:
    scene = Scene(store)
    await scene.course.settle()
    await store.fill("shadow")
    await scene.look(3_600.0)
    assert scene.course.state is not None
    assert scene.course.state.soaked == MAX_ELAPSED
    assert scene.where == ("progressing", "shadow", 0)


async def test_another_version_begins_again_in_a_later_epoch(store: Store) -> None:
    scene = await at_canary(store)
    newer = loaded(CONFIG.replace("version: v1", "version: v2"))
    scene.course.follow(newer.plans["refunds"], newer.rollouts["refunds"])
    assert scene.where == ("staging", "", 0)  # the old version's weight is not the new one's
    await scene.course.settle()
    assert scene.where == ("progressing", "shadow", 0)
    assert scene.course.placement.epoch == 2


async def test_changed_stages_of_the_same_version_are_followed(store: Store) -> None:
    scene = await at_canary(store)
    newer = loaded(CONFIG.replace("weight: 5,", "weight: 7,"))
    scene.course.follow(newer.plans["refunds"], newer.rollouts["refunds"])
    await scene.course.settle()
    assert scene.where == ("progressing", "canary", 7_000)
    assert (await store.kinds())[-1] == "replan"


# The store is away


async def test_with_the_store_away_stages_hold_and_the_time_does_not_count(store: Store) -> None:
    scene = Scene(store)
    await scene.course.settle()
    await store.fill("shadow")
    store.away = True
    for _ in range(60):
        with pytest.raises(StoreUnavailableError):
            await scene.look()
    store.away = False
    await scene.look()
    assert scene.where == ("progressing", "shadow", 0)
    assert scene.course.state is not None
    assert scene.course.state.soaked == 1.0


async def test_a_trip_takes_effect_at_once_and_is_saved_when_the_store_is_back(store: Store) -> None:
    scene = await at_canary(store)
    store.away = True
    assert scene.course.trip(trip())
    assert scene.where == ("degraded", "canary", 0)
    await scene.course.save()
    store.away = False
    await scene.look()
    assert (await store.stored()).phase is Phase.DEGRADED
    assert (await store.kinds())[-1] == "rollback"
    assert scene.rollbacks("breaker") == 1


@pytest.mark.parametrize("call", ["load", "evidence", "save"])
async def test_a_trip_does_not_wait_for_a_store_that_hangs_and_wins_over_what_was_under_way(
    store: Store, call: str
) -> None:
    """With `save`, the advance to full is on its way to the store when the trip comes: the rollback goes on top."""
    scene = await at_canary(store)
    await store.fill("canary")
    await scene.hold(9)
    release = store.hold(call)
    looking = asyncio.get_running_loop().create_task(scene.look())
    await store.waiting.wait()
    assert scene.course.trip(trip())
    assert scene.where == ("degraded", "canary", 0)
    release.set()
    await looking
    await scene.look()
    assert scene.where == ("degraded", "canary", 0)
    assert ((await store.stored()).phase, (await store.stored()).weight) == (Phase.DEGRADED, 0)
    moves = ["complete", "rollback"] if call == "save" else ["rollback"]
    assert (await store.kinds())[2:] == moves


@pytest.mark.parametrize("call", ["load", "save"])
async def test_a_trip_wins_over_a_changed_configuration_under_way(store: Store, call: str) -> None:
    scene = await at_canary(store)
    newer = loaded(CONFIG.replace("weight: 5,", "weight: 7,"))
    scene.course.follow(newer.plans["refunds"], newer.rollouts["refunds"])
    release = store.hold(call)
    settling = asyncio.get_running_loop().create_task(scene.course.settle())
    await store.waiting.wait()
    scene.course.trip(trip())
    release.set()
    await settling
    assert scene.where == ("degraded", "canary", 0)
    await scene.look()
    assert scene.where == ("degraded", "canary", 0)
    assert (await store.stored()).phase is Phase.DEGRADED


async def test_without_a_store_at_the_start_what_ran_last_goes_on_and_can_still_trip(store: Store) -> None:
    last = Placement("v1", "canary", Phase.PROGRESSING, epoch=1, weight=5_000, shadow=100_000)
    known = await at_canary(store)
    store.away = True
    scene = Scene(store, fallback=last)
    with pytest.raises(StoreUnavailableError):
        await scene.course.settle()
    assert scene.where == ("progressing", "canary", 5_000)

    assert scene.course.trip(trip())
    assert scene.where == ("degraded", "canary", 0)
    store.away = False
    await scene.look()
    await scene.look()
    assert scene.where == ("degraded", "canary", 0)
    assert (await store.stored()).phase is Phase.DEGRADED
    assert known.course.state is not None


async def test_what_ran_last_does_not_stand_in_for_another_version(store: Store) -> None:
    last = Placement("v0", "canary", Phase.PROGRESSING, epoch=1, weight=5_000, shadow=100_000)
    assert Scene(store, fallback=last).where == ("staging", "", 0)


async def test_a_state_that_the_store_lost_is_put_back(store: Store, valkey: Valkey) -> None:
    scene = await at_canary(store)
    scene.course.trip(trip())
    await scene.course.save()
    await store._states._redis.flushall()
    await scene.look()
    assert (await store.stored()).phase is Phase.DEGRADED
    assert (await store.stored()).revision == 1
    await scene.look()
    assert scene.where == ("degraded", "canary", 0)


# Trips


@pytest.mark.parametrize("stale", [trip(epoch=2), trip(version="v0")])
async def test_a_trip_of_another_epoch_or_version_changes_nothing(store: Store, stale: Trip) -> None:
    scene = await at_canary(store)
    assert not scene.course.trip(stale)
    assert scene.where == ("progressing", "canary", 5_000)


async def test_the_second_worker_that_trips_is_no_news(store: Store) -> None:
    scene = await at_canary(store)
    assert scene.course.trip(trip())
    assert not scene.course.trip(trip())
    assert scene.rollbacks("breaker") == 1


async def test_a_rollback_stays_over_a_restart_until_an_operator_retries(store: Store) -> None:
    scene = await at_canary(store)
    scene.course.trip(trip())
    await scene.course.save()

    later = Scene(store)
    await later.course.settle()
    await store.fill("canary")
    await later.hold(30)
    assert later.where == ("degraded", "canary", 0)

    await later.course.command(Verb.RETRY, actor="ana", reason="mended", full=False)
    assert later.where == ("progressing", "shadow", 0)
    assert later.course.placement.epoch == 2
    assert not later.course.trip(trip(epoch=1))


# The guard


async def test_the_guard_rolls_back_an_agent_that_is_worse(store: Store) -> None:
    scene = await at_canary(store)
    scene.course.watch(0.5, {("agent", "ok"): 50, ("legacy", "ok"): 1_000})
    assert scene.where == ("progressing", "canary", 5_000)
    for _ in range(3):
        scene.course.watch(0.5, FAILING)
    assert scene.where == ("degraded", "canary", 0)
    assert scene.rollbacks("error_rate") == 1
    assert scene.course.state is not None
    assert "error_rate" in scene.course.state.reason


async def test_the_guard_rolls_back_an_agent_that_is_slower(store: Store) -> None:
    scene = await at_canary(store)
    for _ in range(4):
        scene.course.watch(0.5, {("agent", "ok"): 50, ("agent", "slow"): 50, ("legacy", "ok"): 1_000})
    assert scene.where == ("degraded", "canary", 0)
    assert scene.rollbacks("latency") == 1


async def test_the_guard_does_not_judge_an_agent_that_serves_nobody(store: Store) -> None:
    scene = Scene(store)
    await scene.course.settle()
    for _ in range(10):
        scene.course.watch(0.5, FAILING)
    assert scene.where == ("progressing", "shadow", 0)


async def test_a_retry_gets_a_guard_that_knows_nothing_of_the_fault_before(store: Store) -> None:
    scene = await at_canary(store)
    for _ in range(4):
        scene.course.watch(0.5, FAILING)
    await scene.course.command(Verb.RETRY, actor="ana", reason="", full=False)
    await scene.course.command(Verb.PROMOTE, actor="ana", reason="", full=False)
    scene.course.watch(0.5, {("agent", "ok"): 50, ("legacy", "ok"): 1_000})
    assert scene.where == ("progressing", "canary", 5_000)


# Operators, and others


async def test_verbs_move_it_and_name_who_did(store: Store) -> None:
    scene = await at_canary(store)
    await scene.course.command(Verb.PAUSE, actor="ana", reason="lunch", full=False)
    assert scene.where == ("paused", "canary", 5_000)
    await scene.course.command(Verb.RESUME, actor="ana", reason="", full=False)
    await scene.course.command(Verb.PROMOTE, actor="ana", reason="", full=False)
    assert scene.where == ("completed", "full", 100_000)
    assert [(event.kind, event.actor) for event in await store.history("refunds", 3)] == [
        ("promote", "ana"),
        ("resume", "ana"),
        ("pause", "ana"),
    ]


async def test_a_verb_that_the_phase_does_not_allow_changes_nothing(store: Store) -> None:
    scene = await at_canary(store)
    with pytest.raises(CommandError):
        await scene.course.command(Verb.RETRY, actor="ana", reason="", full=False)
    assert scene.where == ("progressing", "canary", 5_000)


async def test_no_verb_but_abort_works_without_the_store(store: Store) -> None:
    scene = await at_canary(store)
    store.away = True
    with pytest.raises(StoreUnavailableError):
        await scene.course.command(Verb.PROMOTE, actor="ana", reason="", full=False)
    assert scene.where == ("progressing", "canary", 5_000)
    await scene.course.command(Verb.ABORT, actor="ana", reason="it lies", full=False)
    assert scene.where == ("degraded", "canary", 0)
    store.away = False
    await scene.look()
    assert [(event.kind, event.actor) for event in await store.history("refunds", 1)] == [("abort", "ana")]


async def test_what_someone_else_saved_is_obeyed(store: Store) -> None:
    scene = await at_canary(store)
    state = await store.stored()
    step = advance.rollback(scene.course.plan, state, "the other replica saw it", 0.0)
    await store.someone_else_saves(step.state, step.event)
    await scene.look()
    assert scene.where == ("degraded", "canary", 0)


async def test_a_rollback_goes_on_top_of_what_someone_else_saved_meanwhile(store: Store) -> None:
    scene = await at_canary(store)
    state = await store.stored()
    await store.someone_else_saves(replace(state, soaked=state.soaked + 5, revision=state.revision + 1))
    scene.course.trip(trip())
    await scene.course.save()
    assert (await store.stored()).phase is Phase.DEGRADED
    assert (await store.stored()).revision == state.revision + 2
    await scene.look()
    assert scene.where == ("degraded", "canary", 0)


async def test_a_rollback_gives_way_to_a_later_epoch(store: Store) -> None:
    scene = await at_canary(store)
    state = await store.stored()
    down = advance.rollback(scene.course.plan, state, "elsewhere", 0.0)
    again = advance.command(scene.course.plan, down.state, Verb.RETRY, actor="bo", reason="", now=0.0)
    await store.someone_else_saves(down.state, down.event)
    await store.someone_else_saves(again.state, again.event)
    scene.course.trip(trip())
    await scene.course.save()
    assert scene.where == ("progressing", "shadow", 0)
    assert scene.course.placement.epoch == 2


async def test_a_verb_on_what_someone_else_moves_at_the_same_time_says_so(store: Store) -> None:
    scene = await at_canary(store)
    state = await store.stored()
    load = store.load

    async def overtaken(route: str) -> object:
        found = await load(route)
        step = advance.command(scene.course.plan, state, Verb.PAUSE, actor="bo", reason="", now=0.0)
        await store.someone_else_saves(step.state, step.event)
        return found

    store.load = overtaken  # type: ignore[method-assign,assignment]  # someone is faster
    with pytest.raises(ConflictError, match="someone else moved this rollout"):
        await scene.course.command(Verb.PROMOTE, actor="ana", reason="", full=False)
    assert scene.where == ("progressing", "canary", 5_000)
