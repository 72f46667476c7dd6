"""One rollout on its way: what is saved first, what takes effect first, and who wins."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from proxy.control.configuration import Loaded
from proxy.control.course import CHECKPOINT, Course
from proxy.control.soak import MAX_ELAPSED, QUIET
from proxy.control.standing import PATIENCE
from proxy.control.watch import KEEP
from proxy.model.errors import CommandError, ConflictError, StoreUnavailableError
from proxy.model.link import Trip
from proxy.model.measures import SLOT
from proxy.model.rollouts import Arrived, Event, Report, RolloutState
from proxy.model.snapshot import Placement
from proxy.model.words import Phase, Verb
from proxy.rollout import advance, codec
from proxy.storage import keys
from proxy.storage.connection import ask
from proxy.telemetry.families import ROLLBACKS
from proxy.telemetry.metrics import Metrics
from tests.fakes import FakeClock
from tests.unit.control.world import CONFIG, Lease, Store, loaded, open_store
from tests.valkey import Valkey


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    async with open_store(valkey) as opened:
        yield opened


class Scene:
    """A course of the small configuration, and how often traffic had to change."""

    def __init__(
        self, store: Store, config: Loaded | None = None, fallback: Placement | None = None, *, leads: bool = True
    ) -> None:
        self.store, self.config, self.metrics, self.clock = store, config or loaded(), Metrics(), FakeClock()
        self.lease = Lease(leads=leads)
        self.moves = 0
        self.course = Course(
            self.config.plans["refunds"],
            self.config.rollouts["refunds"],
            WAIT,
            store,
            self.lease,
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

    @property
    def soaked(self) -> float:
        assert self.course.state is not None
        return self.course.state.soaked

    async def follow(self) -> None:
        """Hear what the store holds, as all replicas do all the time."""
        revision = self.course.revision
        await self.course.obey(await self.store.load("refunds"), revision)

    async def look(self, seconds: float = 1.0) -> None:
        self.clock.advance(seconds)
        await self.follow()
        await self.course.look()

    async def hold(self, seconds: int) -> None:
        await self.look(0)
        for _ in range(seconds):
            await self.look()

    def watch(
        self, agent: int = 0, agent_failed: int = 0, agent_slow: int = 0, legacy: int = 0, legacy_failed: int = 0
    ) -> bool:
        """What arrived and ended in the slot that is now over."""
        slot = int(self.clock.monotonic() / SLOT)
        row = Arrived(slot, agent, agent, agent_failed, agent_slow, legacy, legacy, legacy_failed)
        self.clock.advance(SLOT)
        return self.course.watch(slot + 1, (row,))

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


WAIT = 62.0


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
    assert second.soaked == pytest.approx(8.0)
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
    await scene.look()
    await scene.look(60.0)
    assert scene.soaked == MAX_ELAPSED
    assert scene.where == ("progressing", "shadow", 0)


async def test_another_version_begins_again_in_a_later_epoch(store: Store) -> None:
    scene = await at_canary(store)
    newer = loaded(CONFIG.replace("version: v1", "version: v2"))
    scene.course.follow(newer.plans["refunds"], newer.rollouts["refunds"], WAIT)
    assert scene.where == ("staging", "", 0)  # the old version's weight is not the new one's
    await scene.course.settle()
    assert scene.where == ("progressing", "shadow", 0)
    assert scene.course.placement.epoch == 2


async def test_changed_stages_of_the_same_version_are_followed(store: Store) -> None:
    scene = await at_canary(store)
    newer = loaded(CONFIG.replace("weight: 5,", "weight: 7,"))
    scene.course.follow(newer.plans["refunds"], newer.rollouts["refunds"], WAIT)
    await scene.course.settle()
    assert scene.where == ("progressing", "canary", 7_000)
    assert (await store.kinds())[-1] == "replan"
    assert scene.course.placement.epoch == 2  # what was seen at 5 percent is no evidence of 7


# The store is away


async def test_with_the_store_away_stages_hold_and_the_time_does_not_count(store: Store) -> None:
    scene = Scene(store)
    await scene.course.settle()
    await store.fill("shadow")
    await scene.hold(1)
    store.away = True
    for _ in range(60):
        scene.clock.advance(1)
        with pytest.raises(StoreUnavailableError):
            await scene.course.look()
    store.away = False
    await scene.look()
    assert scene.where == ("progressing", "shadow", 0)
    assert scene.soaked == 1.0
    await scene.look()
    assert scene.soaked == 2.0


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


@pytest.mark.parametrize("call", ["load", "evidence", "users", "save"])
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
    scene.course.follow(newer.plans["refunds"], newer.rollouts["refunds"], WAIT)
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
    await store.redis.flushall()
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


async def test_a_trip_that_comes_just_after_a_changed_configuration_counts(store: Store) -> None:
    scene = await at_canary(store)
    newer = loaded(CONFIG.replace("weight: 5,", "weight: 7,"))
    scene.course.follow(newer.plans["refunds"], newer.rollouts["refunds"], WAIT)
    await scene.course.settle()
    assert scene.course.placement.epoch == 2
    assert scene.course.trip(trip(epoch=1))
    assert scene.where == ("degraded", "canary", 0)


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
    for _ in range(20):
        assert not scene.watch(agent=50, legacy=1_000)
    assert scene.where == ("progressing", "canary", 5_000)
    assert any(scene.watch(agent=50, agent_failed=50, legacy=1_000) for _ in range(20))
    assert scene.where == ("degraded", "canary", 0)
    assert scene.rollbacks("error_rate") == 1
    assert scene.course.state is not None
    assert "error_rate" in scene.course.state.reason
    await scene.course.save()
    (event,) = await store.history("refunds", 1)
    assert (event.kind, event.actor) == ("rollback", "guard")
    assert "error_rate" in {result.name for result in event.gates}


async def test_the_guard_rolls_back_an_agent_that_is_slower(store: Store) -> None:
    scene = await at_canary(store)
    for _ in range(20):
        scene.watch(agent=50, legacy=1_000)
    assert any(scene.watch(agent=50, agent_slow=50, legacy=1_000) for _ in range(20))
    assert scene.where == ("degraded", "canary", 0)
    assert scene.rollbacks("latency") == 1


async def test_the_guard_only_reports_on_an_agent_that_serves_nobody(store: Store) -> None:
    scene = Scene(store)
    await scene.course.settle()
    for _ in range(40):
        assert not scene.watch(agent=50, agent_failed=50, legacy=1_000)
    assert scene.where == ("progressing", "shadow", 0)
    assert {result.dry_run for result in scene.course.guards} == {True}


async def test_a_retry_gets_a_guard_that_knows_nothing_of_the_fault_before(store: Store) -> None:
    scene = await at_canary(store)
    for _ in range(40):
        scene.watch(agent=50, agent_failed=50, legacy=1_000)
    assert scene.where == ("degraded", "canary", 0)
    await scene.course.command(Verb.RETRY, actor="ana", reason="", full=False)
    await scene.course.command(Verb.PROMOTE, actor="ana", reason="", full=False)
    await scene.look()
    for _ in range(20):
        scene.watch(agent=50, legacy=1_000)
    assert scene.where == ("progressing", "canary", 5_000)


@pytest.mark.parametrize("known", [True, False])
async def test_the_guard_of_who_does_not_decide_waits_for_who_does_if_somebody_can(store: Store, known: bool) -> None:
    await at_canary(store)
    scene = Scene(store, leads=False)
    scene.lease.known = known
    await scene.course.settle()
    for _ in range(40):
        scene.watch(agent=50, agent_failed=50, legacy=1_000)
    assert scene.where == (("progressing", "canary", 5_000) if known else ("degraded", "canary", 0))


async def test_the_guard_judges_what_arrived_at_other_replicas_too(store: Store) -> None:
    scene = await at_canary(store)
    for slot in range(40):
        here = int(scene.clock.monotonic() / SLOT)
        row = Arrived(slot, agent=50, agent_ended=50, agent_failed=50, legacy=1_000, legacy_ended=1_000)
        scene.course.hear(Report("refunds", "v1", 1, "elsewhere", (row,)))
        scene.course.hear(Report("refunds", "v1", 2, "elsewhere", (row,)))  # of another epoch
        scene.clock.advance(SLOT)
        scene.course.watch(here + 1, ())
    assert scene.where == ("degraded", "canary", 0)


async def test_what_the_guard_learnt_outlives_its_process(store: Store) -> None:
    scene = await at_canary(store)
    for _ in range(100):
        scene.watch(agent=10, agent_failed=2, legacy=100, legacy_failed=20)
    learnt = scene.course.placement.reference
    assert learnt > 0.1
    await scene.course.checkpoint()
    later = Scene(store, leads=False)
    await later.course.settle()
    assert later.course.placement.reference == learnt


async def test_the_one_who_decides_keeps_the_guards_memory_and_no_one_else(store: Store) -> None:
    scene, other = await at_canary(store), Scene(store, leads=False)
    kept = await store.load_guard("refunds")
    await other.course.settle()
    for each in (other, scene):
        each.watch(agent=10, legacy=100)
        await each.look(KEEP)
        assert (await store.load_guard("refunds") == kept) is (each is other)


async def test_without_the_store_the_guard_begins_with_nothing(store: Store) -> None:
    scene = await at_canary(store)
    await scene.course.checkpoint()
    later = Scene(store)
    release = store.hold("load_guard")
    settling = asyncio.get_running_loop().create_task(later.course.settle())
    await store.waiting.wait()
    assert later.course.watched is None, "what arrives must wait for the memory"
    store.away = True
    release.set()
    await settling
    assert later.course.watched == ("refunds", "v1", 1)


async def test_changed_limits_need_no_store(store: Store) -> None:
    scene = await at_canary(store)
    for _ in range(20):
        scene.watch(agent=50, legacy=1_000)
    store.away = True
    newer = loaded(CONFIG.replace("slower_than: 5s", "slower_than: 5s, objective: 50%"))
    scene.course.follow(newer.plans["refunds"], newer.rollouts["refunds"], WAIT)
    with pytest.raises(StoreUnavailableError):
        await scene.course.settle()
    assert any(scene.watch(agent=50, agent_failed=50, legacy=1_000) for _ in range(20))
    assert scene.where == ("degraded", "canary", 0)
    assert {result.name for result in scene.course.guards} == {"error_rate", "latency", "latency_objective"}


async def test_workers_are_told_what_is_normal_here_and_not_at_every_tick(store: Store) -> None:
    scene = await at_canary(store)
    moves, references = scene.moves, [scene.course.placement.reference]
    for _ in range(100):
        scene.watch(agent=10, agent_failed=2, legacy=100, legacy_failed=20)
        if scene.course.placement.reference != references[-1]:
            references.append(scene.course.placement.reference)
    assert references[-1] > 0.1
    assert scene.moves - moves == len(references) - 1 <= 8


# The one who decides, and the others


async def test_only_who_decides_lets_the_soak_grow_and_moves_stages(store: Store) -> None:
    scene = Scene(store, leads=False)
    await scene.course.settle()
    await store.fill("shadow")
    await scene.hold(60)
    assert scene.where == ("progressing", "shadow", 0)
    assert scene.soaked == 0
    verdicts = {gate.name: gate.verdict.value for gate in scene.course.gates}
    assert (verdicts["soak"], verdicts["min_samples"]) == ("inconclusive", "passed"), "it shows them all the same"


async def test_who_decides_next_goes_on_from_the_soak_that_was_saved(store: Store) -> None:
    first, second = Scene(store), Scene(store, leads=False)
    await first.course.settle()
    await second.course.settle()
    await store.fill("shadow")
    await first.hold(7)
    await second.hold(7)
    assert second.soaked == CHECKPOINT
    first.lease.leads, second.lease.leads = False, True
    await second.look()
    assert second.soaked == CHECKPOINT, "the time until it decides is not its own"
    await second.hold(5)
    assert second.where == ("progressing", "canary", 5_000)
    await first.hold(1)
    assert first.where == ("progressing", "canary", 5_000)


async def test_a_holder_that_woke_up_too_late_moves_nothing(store: Store) -> None:
    first, second = Scene(store), Scene(store, leads=False)
    await first.course.settle()
    await second.course.settle()
    await store.fill("shadow")
    await first.hold(9)
    second.lease.leads = True
    await second.course.command(Verb.PAUSE, actor="ana", reason="", full=False)
    first.clock.advance(1)
    await first.course.look()  # it believes that it leads, and has not followed: the store refuses
    assert (await store.stored()).phase is Phase.PAUSED
    assert first.where == ("progressing", "shadow", 0)
    await first.follow()
    assert first.where == ("paused", "shadow", 0)


async def test_a_verb_in_the_first_moment_of_a_stage_is_written_down_with_its_gates(store: Store) -> None:
    scene = await at_canary(store)
    await scene.course.command(Verb.PROMOTE, actor="ana", reason="", full=False)
    event = (await store.history("refunds"))[0]
    assert (event.kind, event.before[1]) == ("promote", "canary")
    assert {"soak", "min_samples", "error_rate"} <= {result.name for result in event.gates}
    assert {result.samples for result in event.gates} == {0}  # nothing was seen there yet, and that is written down


async def test_without_requests_to_the_agent_no_time_counts(store: Store) -> None:
    scene, store.quiet = Scene(store), True
    await scene.course.settle()
    for _ in range(5):
        await scene.look(MAX_ELAPSED)
    assert scene.soaked == 0.0
    await store.fill("shadow", agreeing=1)
    for _ in range(100):
        await scene.look(MAX_ELAPSED)
    assert scene.soaked == pytest.approx(QUIET, abs=MAX_ELAPSED)
    before = scene.soaked
    await store.fill("shadow", seq=2, agreeing=1)
    await scene.hold(2)
    assert scene.soaked == before + 2


async def test_another_comparison_begins_with_evidence_of_its_own(store: Store) -> None:
    """Pairs that were compared by another rule must not pass, or fail, the gates of this one."""
    scene = await at_canary(store)
    await store.fill("canary")
    await scene.hold(9)
    newer = loaded(CONFIG.replace("$.decision", "$.verdict"))
    scene.course.follow(newer.plans["refunds"], newer.rollouts["refunds"], WAIT)
    await scene.hold(20)
    assert scene.where == ("progressing", "canary", 5_000)
    assert scene.course.placement.epoch == 2
    assert scene.course.evidence.matched == 0
    assert scene.course.watched == ("refunds", "v1", 2)


async def test_replicas_with_different_configurations_do_not_move_it_to_and_fro(store: Store) -> None:
    scene = await at_canary(store)
    newer = Scene(store, loaded(CONFIG.replace("weight: 5,", "weight: 7,")), leads=False)
    await newer.course.settle()
    await scene.follow()
    assert scene.where == newer.where == ("progressing", "canary", 7_000)
    with pytest.raises(ConflictError, match="another configuration"):
        await scene.look()
    assert scene.where == ("progressing", "canary", 7_000)


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.RETRY, Verb.RESUME])
async def test_no_verb_puts_another_configuration_than_the_leading_one_to_work(store: Store, verb: Verb) -> None:
    """Else a replica that was not told yet would bring back the version before, or another stage's weight."""
    old = await at_canary(store)
    newer = loaded(CONFIG.replace("version: v1", "version: v2"))
    scene = Scene(store, newer)
    await scene.course.settle()
    before: RolloutState | None = None
    match verb:
        case Verb.RETRY:
            await scene.course.command(Verb.ABORT, actor="ana", reason="", full=False)
        case Verb.RESUME:
            await scene.course.command(Verb.PAUSE, actor="ana", reason="", full=False)
    before = await store.stored()
    await old.follow()
    with pytest.raises(ConflictError, match="another configuration"):
        await old.course.command(verb, actor="bo", reason="", full=False)
    assert await store.stored() == before
    if verb is not Verb.RETRY:
        await old.course.command(Verb.ABORT, actor="bo", reason="", full=False)
        assert (await store.stored()).phase is Phase.DEGRADED


@pytest.mark.parametrize("call", ["evidence", "users"])
async def test_a_look_under_way_moves_nothing_by_a_plan_that_the_state_is_not_in_line_with(
    store: Store, call: str
) -> None:
    """The second stage of the new plan is the last one and has no soak: a look that began before would complete it."""
    scene = await at_canary(store)
    await store.fill("canary")
    release = store.hold(call)
    looking = asyncio.get_running_loop().create_task(scene.look())
    await store.waiting.wait()
    newer = loaded(CONFIG.replace("        - {name: canary, weight: 5, soak: 10s}\n", ""))
    scene.course.follow(newer.plans["refunds"], newer.rollouts["refunds"], WAIT)
    release.set()
    await looking
    await scene.course.settle()
    assert (await store.kinds())[2:] == ["replan"]
    assert scene.where == ("progressing", "shadow", 0)


async def test_of_a_version_that_is_not_ours_nothing_is_kept(store: Store) -> None:
    scene = await at_canary(store)
    newer = Scene(store, loaded(CONFIG.replace("version: v1", "version: v2")))
    await newer.course.settle()
    assert scene.course.key == ("refunds", "v1", 1)
    await scene.follow()
    assert scene.course.key is None


async def test_a_gate_that_failed_rolls_back_before_it_is_saved(store: Store) -> None:
    scene = await at_canary(store)
    await store.disagree("canary")
    release = store.hold("save")
    looking = asyncio.get_running_loop().create_task(scene.look())
    await store.waiting.wait()
    assert scene.where == ("degraded", "canary", 0)
    release.set()
    await looking
    assert scene.rollbacks("gates") == 1
    (event,) = await store.history("refunds", 1)
    assert (event.kind, event.actor) == ("rollback", "gates")


# The store lost something


async def restored(store: Store, state: RolloutState) -> None:
    """As after a failover to a server that had not got the last writes."""
    await ask(store.redis, "SET", keys.state("refunds"), codec.encode_state(state))


async def test_what_the_store_lost_is_put_back_by_who_decides_alone(store: Store) -> None:
    scene = Scene(store)
    await scene.course.settle()
    before = await store.stored()
    other = Scene(store, leads=False)
    await other.course.settle()
    await scene.course.command(Verb.PROMOTE, actor="ana", reason="", full=False)
    await other.follow()
    await restored(store, before)
    await other.follow()
    assert await store.stored() == before
    assert other.where == ("progressing", "canary", 5_000), "it waits for who decides"
    await scene.follow()
    assert (await store.stored()).stage_name == "canary"
    await other.follow()
    assert other.where == scene.where == ("progressing", "canary", 5_000)


async def test_what_nobody_puts_back_is_lost(store: Store) -> None:
    scene = Scene(store, leads=False)
    await scene.course.settle()
    before = await store.stored()
    await scene.course.command(Verb.PROMOTE, actor="ana", reason="", full=False)
    await restored(store, before)
    await scene.follow()
    scene.clock.advance(PATIENCE)
    await scene.follow()
    assert scene.where == ("progressing", "shadow", 0)


async def test_what_others_did_since_the_loss_goes_before_what_was_lost(store: Store) -> None:
    scene = Scene(store)
    await scene.course.settle()
    before = await store.stored()
    for verb in (Verb.PROMOTE, Verb.PAUSE):
        await scene.course.command(verb, actor="ana", reason="", full=False)
    await restored(store, before)
    step = advance.command(scene.course.plan, before, Verb.PAUSE, actor="bo", reason="", now=0.0)
    await store.someone_else_saves(step.state, step.event)  # whose replica had not heard of ana's
    await scene.follow()
    assert scene.where == ("paused", "shadow", 0)
    assert (await store.stored()).actor == "bo"


async def test_another_state_under_the_same_revision_is_obeyed(store: Store) -> None:
    scene = Scene(store)
    await scene.course.settle()
    before = await store.stored()
    await scene.course.command(Verb.PROMOTE, actor="ana", reason="", full=False)
    await restored(store, before)
    step = advance.command(scene.course.plan, before, Verb.PAUSE, actor="bo", reason="", now=0.0)
    await store.someone_else_saves(step.state, step.event)
    assert (await store.stored()).revision == scene.course.revision
    await scene.follow()
    assert scene.where == ("paused", "shadow", 0)


@pytest.mark.parametrize("leads", [True, False])
async def test_a_rollback_that_the_store_lost_is_put_back_by_whoever_knows_of_it(store: Store, leads: bool) -> None:
    await at_canary(store)
    before = await store.stored()
    scene = Scene(store, leads=leads)
    await scene.course.settle()
    scene.course.trip(trip())
    await scene.course.save()
    await restored(store, before)
    for soaked in (1.0, 2.0, 3.0):  # others go on meanwhile, to revisions beyond ours
        before = replace(before, soaked=soaked, revision=before.revision + 1)
        await store.someone_else_saves(before)
    await scene.follow()
    assert scene.where == ("degraded", "canary", 0)
    assert (await store.stored()).phase is Phase.DEGRADED
    assert (await store.stored()).revision == before.revision + 1


async def test_an_answer_that_is_older_than_what_happened_here_meanwhile_is_none(store: Store) -> None:
    scene = Scene(store)
    await scene.course.settle()
    revision, asked = scene.course.revision, await store.stored()
    await scene.course.command(Verb.PROMOTE, actor="ana", reason="", full=False)
    await scene.course.obey(asked, revision)
    assert scene.where == ("progressing", "canary", 5_000)
    assert (await store.stored()).stage_name == "canary"


async def test_our_own_save_under_way_is_nobody_elses(store: Store) -> None:
    scene = Scene(store)
    await scene.course.settle()
    save = store._states.save

    async def followed(state: RolloutState, event: Event | None) -> None:
        await save(state, event)
        await scene.follow()  # the store has it, and its answer is still on the way

    store._states.save = followed  # type: ignore[method-assign]  # it is what is tested
    await scene.course.command(Verb.PROMOTE, actor="ana", reason="", full=False)
    assert scene.where == ("progressing", "canary", 5_000)
    assert scene.course.revision == 2


async def test_a_rollback_that_was_never_saved_outlives_its_process(store: Store) -> None:
    await at_canary(store)
    last = Placement("v1", "canary", Phase.DEGRADED, epoch=1, weight=0, shadow=100_000)
    scene = Scene(store, fallback=last)
    await scene.course.settle()
    assert scene.where == ("degraded", "canary", 0)
    await scene.look()
    assert (await store.stored()).phase is Phase.DEGRADED


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


async def test_a_rollback_goes_on_top_of_a_configuration_that_only_measures_anew(store: Store) -> None:
    scene = await at_canary(store)
    newer = Scene(store, loaded(CONFIG.replace("$.decision", "$.verdict")))
    await newer.course.settle()
    assert newer.course.placement.epoch == 2
    scene.course.trip(trip())
    await scene.course.save()
    assert ((await store.stored()).phase, (await store.stored()).epoch) == (Phase.DEGRADED, 2)
    await newer.follow()
    assert newer.where == ("degraded", "canary", 0)


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
    assert scene.where == ("paused", "canary", 5_000), "what the other one did is obeyed"


async def test_a_verb_is_not_refused_because_the_soak_was_saved_at_the_same_time(store: Store) -> None:
    scene = await at_canary(store)
    state = await store.stored()
    load, overtakings = store.load, [1.0, 2.0]

    async def overtaken(route: str) -> object:
        found = await load(route)
        if overtakings:
            revision = (await store.stored()).revision + 1
            await store.someone_else_saves(replace(state, soaked=overtakings.pop(), revision=revision))
        return found

    store.load = overtaken  # type: ignore[method-assign,assignment]  # the one who decides is faster
    await scene.course.command(Verb.PROMOTE, actor="ana", reason="", full=False)
    assert scene.where == ("completed", "full", 100_000)
