"""The guard of one rollout: what is said of what arrived. The statistics themselves are tested in
tests/unit/analysis."""

from dataclasses import replace
from random import Random

import pytest

from proxy.control.guard import REFERENCES, Guard
from proxy.model.rollouts import Arrived, GateResult, RolloutState
from proxy.model.snapshot import BUCKETS
from proxy.model.words import Phase, Verdict
from tests.unit.control.world import CONFIG, loaded

KEY = ("refunds", "v1", 1)
STATE = RolloutState("refunds", "v1", Phase.PROGRESSING, 1, "canary", 5_000, 100_000, epoch=1, revision=2, since=0.0)
SHADOW = replace(STATE, stage=0, stage_name="shadow", weight=0)
FULL = replace(STATE, stage=2, stage_name="full", weight=BUCKETS)

# The scene: two arms, slot by slot


class Scene:
    """Traffic of two arms, each request with a fate and an hour at which that is known; five slots are a second."""

    def __init__(self, text: str = CONFIG, state: RolloutState = STATE, *, seed: str = "s", wait: float = 62.0) -> None:
        self.rollout, self.state = loaded(text).rollouts["refunds"], state
        self.guard = Guard(self.rollout, state, wait=wait)
        self.rng, self.slot = Random(seed), 1_000
        self.agent, self.legacy = 10, 90  # requests in a slot
        self.agent_rate = self.legacy_rate = 0.01  # of failures
        self.ok_after = self.failed_after = self.legacy_after = self.legacy_failed_after = 0  # slots
        self.ends: dict[int, list[Arrived]] = {}
        self.results: tuple[GateResult, ...] = ()

    def rows(self) -> list[Arrived]:
        """What is reported of this slot's arrivals now; the rest goes to `ends`."""
        failed, legacy_failed = self._draw(self.agent, self.agent_rate), self._draw(self.legacy, self.legacy_rate)
        ok, legacy_ok = self.agent - failed, self.legacy - legacy_failed
        self._later(self.ok_after, Arrived(self.slot, agent_ended=ok))
        self._later(self.failed_after, Arrived(self.slot, agent_ended=failed, agent_failed=failed))
        self._later(self.legacy_after, Arrived(self.slot, legacy_ended=legacy_ok))
        self._later(
            self.legacy_failed_after, Arrived(self.slot, legacy_ended=legacy_failed, legacy_failed=legacy_failed)
        )
        return [Arrived(self.slot, agent=self.agent, legacy=self.legacy), *self.ends.pop(self.slot, [])]

    def _later(self, after: int, row: Arrived) -> None:
        self.ends.setdefault(self.slot + after, []).append(row)

    def _draw(self, requests: int, rate: float) -> int:
        return sum(self.rng.random() < rate for _ in range(requests))

    def step(self) -> GateResult:
        self.slot += 1
        self.guard.add("", self.rows())
        self.results = self.guard.step(self.slot, self.state)
        return self.results[0]

    def run(self, seconds: float) -> float | None:
        """Seconds until the error rate's test fails, or None."""
        for step in range(1, round(seconds * 5) + 1):
            if self.step().verdict is Verdict.FAILED:
                return step / 5
        return None

    def result(self, name: str) -> GateResult:
        return next(result for result in self.results if result.name == name)


# What it finds


def test_an_outage_of_the_agent_alone_is_found_at_once_and_stays_found() -> None:
    scene = Scene()
    assert scene.run(60) is None
    scene.agent_rate = 1.0
    assert (scene.run(60) or 60) <= 0.4
    scene.run(2)
    scene.agent_rate = 0.0
    assert scene.step().verdict is Verdict.FAILED


def test_a_fifth_failing_is_found_within_seconds() -> None:
    scene = Scene()
    assert scene.run(60) is None
    scene.agent_rate = 0.2
    assert (scene.run(60) or 60) <= 3
    error_rate = scene.result("error_rate")
    assert error_rate.value is not None
    assert error_rate.value > 0.1
    assert error_rate.bound == 1.0
    assert "agent requests against" in error_rate.reason


def test_slow_answers_are_found_beside_failures() -> None:
    scene = Scene()
    scene.run(30)
    for _ in range(25):
        scene.slot += 1
        scene.guard.add("", [Arrived(scene.slot, 10, 10, 0, 5, 90, 90, 0, 1)])
        errors, latency = scene.guard.step(scene.slot, STATE)
    assert (errors.verdict, latency.verdict) == (Verdict.INCONCLUSIVE, Verdict.FAILED)
    assert (latency.name, latency.dry_run) == ("latency", False)


def test_both_at_the_same_rate_never() -> None:
    for rate in (0.01, 0.2, 0.5, 1.0):
        scene = Scene(seed=f"both {rate}")
        assert scene.run(30) is None
        scene.agent_rate = scene.legacy_rate = rate
        assert scene.run(60) is None


def test_it_says_how_bad_the_agent_is_and_never_that_all_is_well() -> None:
    scene = Scene()
    assert scene.step().reason == "no agent requests yet"
    scene.run(20)
    error_rate, latency = scene.results
    assert error_rate.verdict is Verdict.INCONCLUSIVE
    assert error_rate.value == pytest.approx(0.01, abs=0.01)
    assert error_rate.threshold == pytest.approx(0.012, abs=0.004)
    assert error_rate.bound is not None
    assert 0 <= error_rate.bound < 1
    assert error_rate.samples == pytest.approx(1_000, abs=50)
    assert (latency.name, latency.value) == ("latency", 0.0)


def test_without_a_limit_for_slowness_nobody_is_slow() -> None:
    scene = Scene(CONFIG.replace("      guard: {latency: {slower_than: 5s}}\n", ""))
    scene.step()
    assert [result.name for result in scene.results] == ["error_rate"]


# Whom it does not blame


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_a_shared_outage_is_not_the_agents_although_it_fails_at_once_and_legacy_hangs(share: float) -> None:
    """Legacy's failures are known 10 s later, the agent's at once. Booked when they end, the agent would be alone."""
    scene = Scene()
    assert scene.run(30) is None
    scene.agent_rate = scene.legacy_rate = share
    scene.legacy_failed_after = 50
    assert scene.run(40) is None
    scene.agent_rate = scene.legacy_rate = 0.01
    assert scene.run(30) is None


def test_an_agent_slow_to_succeed_and_quick_to_fail_is_not_blamed() -> None:
    """1 % fast failures, the rest succeeds after 10 s: what is known first looks as if all failed."""
    scene = Scene()
    scene.ok_after = 50
    assert scene.run(120) is None


@pytest.mark.parametrize("wait", [5.0, 62.0])
def test_nor_one_that_streams_for_longer_than_is_waited_for(wait: float) -> None:
    scene = Scene(wait=wait)
    scene.ok_after = 1_000
    assert scene.run(150) is None


def test_legacy_that_is_slow_counts_as_bad_only_until_it_ends() -> None:
    scene = Scene()
    scene.legacy_after = 50
    assert scene.run(60) is None
    scene.agent_rate = 1.0
    found = scene.run(60)
    assert found is not None
    assert 9 <= found <= 13  # when legacy is known to have been well
    assert scene.result("error_rate").reason.endswith(" of legacy's are still open and count as bad")


def test_long_streams_of_legacy_are_withdrawn_and_the_test_goes_on() -> None:
    scene = Scene(wait=5.0)
    scene.legacy_after = 100
    assert scene.run(90) is None
    assert len(scene.guard._ledger.tail()) <= 12
    scene.agent_rate = 1.0
    assert scene.run(60) is not None


def test_a_restart_of_ours_hears_the_ends_of_what_began_before_it_and_blames_nobody_for_them() -> None:
    """Of the agent's requests 1 % hang for 10 s and fail: right after the restart nothing else is heard of the past."""
    scene = Scene()
    scene.failed_after = 50
    assert scene.run(60) is None
    scene.guard = Guard(scene.rollout, STATE)
    assert scene.run(60) is None


# Replicas


def test_two_replicas_with_different_clocks_are_one_stream() -> None:
    here, there = Scene(), Scene(seed="there")
    here.agent, here.legacy = 1, 9
    there.slot = 700_000
    for fault in (0.01, 0.3):
        there.agent_rate = here.agent_rate = fault
        seconds = 0.0
        while seconds < 60 and here.run(0.2) is None:
            seconds += 0.2
            there.slot += 1
            here.guard.add("there", there.rows())
        assert seconds < 6 if fault > 0.01 else seconds >= 60


def test_a_fault_that_only_another_replica_sees_is_found_here_too() -> None:
    here, there = Scene(), Scene(seed="there")
    there.slot, failed = 5, None
    for step in range(500):
        there.agent_rate = 1.0 if step >= 400 else 0.01
        there.slot += 1
        if step % 3 == 0:  # each report has three slots
            here.guard.add("there", there.rows())
        if here.step().verdict is Verdict.FAILED:
            failed = step
            break
    assert failed is not None
    assert 400 <= failed <= 410


# Stages


def test_in_shadow_it_reports_and_when_the_agent_begins_to_serve_it_begins_again() -> None:
    scene = Scene(state=SHADOW)
    scene.run(30)
    scene.agent_rate = 0.5
    assert scene.run(30) is not None
    assert scene.result("error_rate").dry_run
    scene.agent_rate = 0.01
    scene.run(5)
    assert scene.step().verdict is Verdict.FAILED  # it would have been rolled back

    scene.state = STATE
    assert scene.run(60) is None
    assert not scene.result("error_rate").dry_run
    assert scene.result("error_rate").samples < 3_100
    scene.agent_rate = 1.0
    assert (scene.run(10) or 10) <= 0.4  # legacy's history was kept


def test_at_full_weight_the_agent_is_held_against_what_legacy_was_last() -> None:
    scene = Scene()
    scene.run(60)
    scene.state, scene.legacy = FULL, 0
    assert scene.run(60) is None
    error_rate = scene.result("error_rate")
    assert error_rate.threshold == pytest.approx(0.0145, abs=0.003)
    assert "that are allowed (one-arm rule)" in error_rate.reason
    scene.agent_rate = 0.2
    assert (scene.run(30) or 30) <= 5
    assert not scene.result("error_rate").dry_run


def test_back_from_full_weight_it_compares_again() -> None:
    scene = Scene()
    scene.run(30)
    scene.state, scene.legacy = FULL, 0
    scene.run(10)
    scene.state, scene.legacy = STATE, 90
    scene.run(10)
    assert "legacy requests" in scene.result("error_rate").reason


def test_at_full_weight_with_nothing_to_compare_it_says_so_and_how_to_mend_it() -> None:
    scene = Scene(state=FULL)
    scene.legacy, scene.agent_rate = 0, 1.0
    assert scene.run(30) is None
    error_rate = scene.result("error_rate")
    assert error_rate.reason == (
        "legacy serves nobody at this weight, and its rate before is not known, so there is nothing to compare with:"
        " set rollout.holdback, or rollout.guard.error_rate.objective"
    )
    assert (error_rate.value, error_rate.bound, error_rate.threshold) == (1.0, None, None)


OBJECTIVE = CONFIG.replace("guard: {", "guard: {error_rate: {objective: 5%}, ")


def test_an_objective_is_kept_whatever_legacy_does() -> None:
    scene = Scene(OBJECTIVE)
    assert scene.run(30) is None
    scene.agent_rate = scene.legacy_rate = 0.3
    assert scene.run(30) is None
    assert [result.name for result in scene.results] == ["error_rate", "error_rate_objective", "latency"]
    objective = scene.result("error_rate_objective")
    assert (objective.verdict, objective.threshold) == (Verdict.FAILED, 0.05)


def test_an_objective_is_enough_where_nothing_can_be_compared() -> None:
    scene = Scene(OBJECTIVE, state=FULL)
    scene.legacy = 0
    scene.run(30)
    assert scene.result("error_rate").reason.endswith("; only the objective is watched")
    scene.agent_rate = 0.3
    scene.run(10)
    assert scene.result("error_rate_objective").verdict is Verdict.FAILED


# Its memory


def test_it_fits_its_epoch_and_its_limits_only() -> None:
    config = loaded()
    guard = Guard(config.rollouts["refunds"], STATE)
    assert guard.fits(config.rollouts["refunds"], STATE)
    assert guard.fits(loaded().rollouts["refunds"], FULL)
    assert not guard.fits(config.rollouts["refunds"], replace(STATE, epoch=2))
    for other in (CONFIG.replace("slower_than: 5s", "slower_than: 6s"), OBJECTIVE):
        assert not guard.fits(loaded(other).rollouts["refunds"], STATE)


@pytest.mark.parametrize("state", [SHADOW, STATE, FULL])
def test_with_its_memory_a_new_one_says_what_the_old_one_would_have_said(state: RolloutState) -> None:
    scene = Scene(OBJECTIVE)
    scene.run(30)
    scene.state = state
    scene.legacy = 0 if state is FULL else 90
    scene.agent_rate = 0.02
    scene.run(10)
    for _ in range(5):  # until nothing is on its way
        scene.slot += 1
        scene.guard.step(scene.slot, state)
    twin = Guard(scene.rollout, state)
    assert twin.restore(scene.guard.dump())
    assert twin.dump() == scene.guard.dump()
    assert twin.reference == scene.guard.reference
    scene.agent_rate = 0.05
    for _ in range(300):
        scene.slot += 1
        rows = scene.rows()
        for guard in (scene.guard, twin):
            guard.add("", rows)
        said = scene.guard.step(scene.slot, state)
        for old, new in zip(said, twin.step(scene.slot, state), strict=True):
            assert (new.verdict, new.value, new.samples) == (old.verdict, old.value, old.samples)
    assert any(result.verdict is Verdict.FAILED for result in said)


def test_what_was_on_its_way_is_no_reason_for_another_verdict() -> None:
    scene = Scene()
    scene.ok_after = scene.legacy_after = 10
    scene.run(60)
    twin = Guard(scene.rollout, STATE)
    assert twin.restore(scene.guard.dump())
    scene.guard = twin
    assert scene.run(30) is None
    scene.agent_rate = 0.2
    assert (scene.run(30) or 30) <= 8


def test_changed_limits_keep_what_is_known_of_legacy_and_nothing_else() -> None:
    scene = Scene()
    scene.run(60)
    scene.agent_rate = 1.0
    assert scene.run(5) is not None
    scene.run(3)
    scene.guard, memory = Guard(loaded(OBJECTIVE).rollouts["refunds"], STATE), scene.guard.dump()
    assert scene.guard.restore(memory)
    scene.agent_rate = 0.01
    assert scene.run(10) is None
    scene.agent_rate = 1.0
    assert (scene.run(10) or 10) <= 0.4
    assert scene.result("error_rate").reason.endswith("(fast rule)")


@pytest.mark.parametrize("wait", [62.0, 82.0])
def test_an_outage_that_legacy_shows_after_the_wait_is_the_agents_so_the_wait_must_be_long_enough(wait: float) -> None:
    scene = Scene(wait=wait)
    scene.run(60)
    scene.agent_rate = scene.legacy_rate = 0.2
    scene.legacy_failed_after = 400  # 80 s: 20 in the queue, 60 for the answer
    assert (scene.run(130) is None) is (wait > 80)


def test_of_an_earlier_epoch_only_what_is_known_of_legacy_is_taken_over() -> None:
    scene = Scene()
    scene.run(60)
    scene.agent_rate = 1.0
    assert scene.run(5) is not None
    scene.state = replace(STATE, epoch=2)
    scene.guard, memory = Guard(scene.rollout, scene.state), scene.guard.dump()
    assert scene.guard.restore(memory)
    scene.agent_rate = 0.01
    assert scene.run(10) is None
    scene.legacy, scene.state = 0, replace(FULL, epoch=2)
    assert scene.step().threshold is not None  # legacy's rate is known, though it serves nobody any more
    scene.agent_rate = 0.4
    assert (scene.run(10) or 10) <= 2


def test_the_memory_of_another_version_is_not_taken_over() -> None:
    memory = Guard(loaded().rollouts["refunds"], STATE).dump()
    other = Guard(loaded().rollouts["refunds"], replace(STATE, version="v2"))
    before = other.dump()
    assert not other.restore(memory)
    assert other.dump() == before


QUICKER = CONFIG.replace("slower_than: 5s", "slower_than: 1s")


def slow(slot: int, agent_slow: int, *, legacy: int = 90, legacy_slow: int = 0) -> Arrived:
    return Arrived(slot, 10, 10, 0, agent_slow, legacy, legacy, 0, legacy_slow)


def test_another_limit_of_what_is_slow_makes_the_old_shares_worthless() -> None:
    """At 5 s nobody was slow; at 1 s every second request is, of either arm, and always was."""
    guard = Guard(loaded().rollouts["refunds"], STATE)
    for slot in range(1_000, 1_300):
        guard.add("", [slow(slot, 0)])
        guard.step(slot, STATE)
    guard.follow(loaded(QUICKER).rollouts["refunds"], 62.0)
    for slot in range(1_300, 1_600):
        guard.add("", [slow(slot, 5, legacy=0)])
        results = guard.step(slot, FULL)
    assert [result.verdict for result in results] == [Verdict.INCONCLUSIVE] * 2
    assert "its rate before is not known" in results[1].reason
    assert results[0].threshold is not None  # failures mean what they meant


def test_it_follows_changed_limits_without_losing_what_is_on_its_way() -> None:
    scene = Scene()
    scene.failed_after = 20
    scene.run(60)
    scene.agent_rate = 1.0
    scene.run(2)
    scene.rollout = loaded(OBJECTIVE).rollouts["refunds"]
    scene.guard.follow(scene.rollout, 62.0)
    assert scene.guard.fits(scene.rollout, STATE)
    scene.agent = 0  # what failed is known only now, and nothing else comes
    assert scene.run(4) is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b"{}",
        b'{"format":1}',
        b'{"format":2,"key":["refunds","v1",1]}',
        b'{"format":1,"key":["refunds","v1",1],"limits":"","serving":true,"reference":0.05,"kinds":{"latency":1}}',
        b'{"format":1,"key":["refunds","v1",1],"limits":"","serving":true,"reference":0.05,"kinds":7}',
    ],
)
def test_a_memory_that_is_none_of_ours_changes_nothing(data: bytes) -> None:
    guard = Guard(loaded().rollouts["refunds"], STATE)
    before = guard.dump()
    assert not guard.restore(data)
    assert guard.dump() == before


def test_a_memory_is_small() -> None:
    scene = Scene(OBJECTIVE)
    scene.run(30)
    assert len(scene.guard.dump()) < 8_000


# What is normal, for the workers' breakers


def test_the_reference_follows_legacy_in_steps_and_never_falls_below_five_percent() -> None:
    scene = Scene()
    seen = []
    for rate in (0.01, 0.13, 0.35, 0.35):
        scene.legacy_rate = scene.agent_rate = rate
        scene.run(60)
        seen.append(scene.guard.reference)
    assert seen[0] == REFERENCES[0]
    assert seen == sorted(seen)
    assert set(seen) <= set(REFERENCES)
    assert seen[-1] >= 0.15


def test_the_reference_does_not_waver_where_legacy_is_at_one_of_its_steps() -> None:
    scene = Scene()
    scene.legacy_rate = scene.agent_rate = 0.1
    scene.run(60)
    changes, before = 0, scene.guard.reference
    for _ in range(600):
        scene.step()
        changes += scene.guard.reference != before
        before = scene.guard.reference
    assert changes <= 1
