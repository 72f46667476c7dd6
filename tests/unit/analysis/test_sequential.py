"""The guard's test: how soon it finds a fault of the agent, and that it blames nobody else's.

Traffic is drawn tick by tick (0.2 s): ten agent and ninety legacy requests, or one and nine.
"""

from collections.abc import Callable
from json import dumps, loads
from math import log
from random import Random

import pytest

from proxy.analysis.block import Block
from proxy.analysis.sequential import Finding, OneArm, TwoArms
from proxy.model.measures import USER_BAD_PER_MINUTE

TICK = 0.2


class Traffic:
    """Two arms with a rate of bad outcomes each, from a seed."""

    def __init__(self, seed: str, agent: int = 10, legacy: int = 90, base: float = 0.01) -> None:
        self.rng = Random(seed)
        self.agent, self.legacy = agent, legacy
        self.agent_rate = self.legacy_rate = base
        self.test = TwoArms(margin=0.002, tick=TICK)

    def run(self, seconds: float) -> float | None:
        """Seconds until the test fires, or None."""
        for tick in range(1, round(seconds / TICK) + 1):
            bad, bad_legacy = self._draw(self.agent, self.agent_rate), self._draw(self.legacy, self.legacy_rate)
            if self.test.step(TICK, self.agent, bad, self.legacy, bad_legacy).fired:
                return tick * TICK
        return None

    def _draw(self, requests: int, rate: float) -> int:
        """Bad ones among `requests`, by the gaps between them: quick where they are rare."""
        if rate >= 1:
            return requests
        bad, at = 0, int(log(1 - self.rng.random()) / log(1 - rate)) if rate else requests
        while at < requests:
            bad += 1
            at += 1 + int(log(1 - self.rng.random()) / log(1 - rate))
        return bad


def test_nothing_wrong_fires_nothing() -> None:
    assert Traffic("healthy").run(3 * 3600) is None


def test_a_total_outage_is_found_within_a_second() -> None:
    traffic = Traffic("outage")
    assert traffic.run(600) is None
    traffic.agent_rate = 1.0
    assert (traffic.run(60) or 60) <= 1.0


def test_a_total_outage_at_a_trickle_is_found_within_seconds() -> None:
    traffic = Traffic("trickle", agent=1, legacy=9)
    assert traffic.run(600) is None
    traffic.agent_rate = 1.0
    assert (traffic.run(60) or 60) <= 3.0  # 5 requests a second


def test_a_fifth_failing_is_found_within_seconds() -> None:
    traffic = Traffic("a fifth")
    assert traffic.run(600) is None
    traffic.agent_rate = 0.2
    assert (traffic.run(60) or 60) <= 5.0


def test_one_point_more_is_found_within_minutes_and_not_sooner_than_it_can_be_known() -> None:
    traffic = Traffic("a point")
    assert traffic.run(300) is None
    traffic.agent_rate = 0.02
    found = traffic.run(1200)
    assert found is not None
    assert 10 <= found <= 600


@pytest.mark.parametrize("shared", [0.05, 0.2, 0.5, 1.0])
def test_a_fault_of_both_arms_blames_nobody(shared: float) -> None:
    for seed in range(10):
        traffic = Traffic(f"shared {shared} {seed}")
        assert traffic.run(60) is None
        traffic.agent_rate = traffic.legacy_rate = shared
        assert traffic.run(60) is None


def test_an_agent_within_the_margin_is_borne() -> None:
    traffic = Traffic("margin")
    traffic.agent_rate = 0.0115
    assert traffic.run(3600) is None


def test_a_better_agent_is_never_blamed() -> None:
    traffic = Traffic("better", base=0.05)
    traffic.agent_rate = 0.0
    assert traffic.run(1800) is None


def test_without_legacy_traffic_it_waits_and_then_counts_what_waited() -> None:
    test = TwoArms(margin=0.002)
    for _ in range(50):
        assert not test.step(TICK, 10, 10, 0, 0).fired
    finding = test.step(TICK, 0, 0, 500, 5)
    assert finding.fired  # 500 agent failures waited for their control
    assert (finding.agent, finding.legacy) == (500, 500)


def test_the_slow_rule_needs_no_history_and_the_fast_one_does() -> None:
    fresh = TwoArms(margin=0.002)
    finding = fresh.step(TICK, 20, 20, 20, 0)
    assert finding.fired
    assert finding.rule == "slow"


def test_once_fired_it_stays_so_and_says_why() -> None:
    test = TwoArms(margin=0.002)
    step: Callable[[], Finding] = lambda: test.step(TICK, 50, 50, 50, 1)  # noqa: E731  # said three times below
    fired = next(finding for finding in (step() for _ in range(50)) if finding.fired)
    assert fired.score == 1.0
    later = test.step(TICK, 1000, 0, 1000, 0)
    assert later.fired
    assert "agent requests against" in fired.reason
    assert fired.agent_rate == 1.0


def test_the_score_rises_on_the_way_and_starts_at_nothing() -> None:
    test = TwoArms(margin=0.002)
    assert test.finding().score == 0.0
    for _ in range(20):
        test.step(TICK, 10, 0, 90, 1)
    calm = test.finding().score
    test.step(TICK, 10, 3, 90, 1)
    assert calm < test.finding().score < 1.0


def test_counts_of_any_size_overflow_nothing() -> None:
    test = TwoArms(margin=0.0)
    for _ in range(5):
        test.step(TICK, 10**9, 10**9, 10**9, 0)
        test.step(86_400.0 * 30, 10**9, 0, 10**9, 10**9)
    assert test.finding().fired


# What a look may cost


@pytest.mark.parametrize("parts", [2, 10])
def test_looking_more_often_makes_each_look_stricter(parts: int) -> None:
    """A second in one block, and in several that have the same counts together."""
    once, often = TwoArms(margin=0.002), TwoArms(margin=0.002)
    for test in (once, often):
        test.step(60.0, 100, 1, 10_000, 100)
    for _ in range(200):
        once.step(1.0, parts, 0, parts, 0)
        for _ in range(parts):
            often.step(1.0 / parts, 1, 0, 1, 0)
    assert often._fast.cusum.threshold - once._fast.cusum.threshold == pytest.approx(log(parts))


@pytest.mark.parametrize("elapsed", [0.0, -1.0, 1e-12, 1e12])
def test_no_distance_makes_the_threshold_absurd(elapsed: float) -> None:
    test = TwoArms(margin=0.002)
    for _ in range(50):
        test.step(elapsed, 10, 0, 90, 1)
    assert 15 < test._fast.cusum.threshold < 30


def test_three_failures_after_a_quiet_night_are_not_enough() -> None:
    test = TwoArms(margin=0.002)
    for _ in range(1_000):
        test.step(TICK, 10, 0, 90, 0)
    assert not test.step(8 * 3600.0, 3, 3, 60, 0).fired
    assert test.step(60.0, 3, 3, 60, 0).fired


def test_a_new_canary_is_not_judged_by_what_one_user_alone_can_do_to_it() -> None:
    """As many bad outcomes as count of one user in a minute, when the agent has hardly served anyone else."""
    test = TwoArms(margin=0.002)
    assert not test.step(60.0, 5, USER_BAD_PER_MINUTE, 300, 0).fired
    assert test.step(TICK, 1, 1, 9, 0).fired
    alone = OneArm(0.01)
    assert not alone.step(60.0, USER_BAD_PER_MINUTE, USER_BAD_PER_MINUTE).fired


# What is not final yet


def warm(test: TwoArms) -> TwoArms:
    for _ in range(300):
        test.step(TICK, 10, 0, 90, 1)
    return test


def test_a_provisional_judgement_is_as_if_it_was_final_and_leaves_nothing() -> None:
    test, other = warm(TwoArms(margin=0.002)), warm(TwoArms(margin=0.002))
    tail = [Block(TICK, 10, 6, 90, 1)] * 3
    before = test.dump()
    judged = test.judge(tail)
    assert test.dump() == before
    for block in tail:
        other.add(block)
    assert judged == other.finding()
    assert judged.fired


def test_a_tail_that_could_not_fire_changes_nothing_that_is_said() -> None:
    test = warm(TwoArms(margin=0.002))
    assert test.judge([Block(TICK, 10, 0, 90, 5)] * 3) is not None
    assert test.judge([Block(TICK, 10, 1, 90, 5)]) == test.finding()


def test_every_tail_that_would_fire_is_looked_at() -> None:
    """Random tails behind random pasts: the short cut says no only where the long way does too."""
    rng, fired = Random("tails"), 0
    for _ in range(300):
        test = TwoArms(margin=0.002)
        for _ in range(rng.randrange(40)):
            test.step(TICK, rng.randrange(20), 0, 90, rng.randrange(3))
            test.step(TICK, 10, rng.randrange(3) if rng.random() < 0.2 else 0, 90, rng.randrange(3))
        tail = [
            Block(TICK, 8, rng.randrange(9) if rng.random() < 0.5 else 0, 60, rng.randrange(3))
            for _ in range(rng.randrange(1, 5))
        ]
        judged = test.judge(tail)
        for block in tail:
            test.add(block)
        assert judged.fired == test.finding().fired
        fired += judged.fired
    assert 50 < fired < 250


def test_failures_that_waited_for_their_control_are_judged_when_it_is_in_the_tail() -> None:
    test = TwoArms(margin=0.002)
    test.step(TICK, 50, 50, 0, 0)
    assert test.judge([Block(TICK, 0, 0, 50, 0)]).fired
    assert not test.finding().fired


# Beginning again, and going on


def test_a_restart_forgets_the_agent_and_keeps_what_is_known_of_legacy() -> None:
    test = warm(TwoArms(margin=0.002))
    test.step(TICK, 50, 50, 50, 0)
    assert test.finding().fired
    rate = test.rate
    test.restart()
    assert (test.finding().fired, test.finding().agent, test.rate) == (False, 0, rate)
    test.step(TICK, 10, 10, 90, 0)
    assert test.finding().rule == "fast"


def test_legacy_that_waited_for_an_agent_is_known_after_a_restart() -> None:
    test = TwoArms(margin=0.002)
    test.step(TICK, 0, 0, 1_000, 10)
    assert test.rate is None
    test.restart()
    assert test.rate == pytest.approx(11 / 1_020)


def through_json(data: object) -> object:
    return loads(dumps(data))


@pytest.mark.parametrize("steps", [0, 1, 50])
def test_what_is_dumped_goes_on_as_if_nothing_had_happened(steps: int) -> None:
    rng, test = Random("dump"), warm(TwoArms(margin=0.002))
    for _ in range(steps):
        test.step(TICK, 10, rng.randrange(3), rng.choice((0, 90)), 0)
    again = TwoArms(margin=0.002)
    again.restore(through_json(test.dump()))
    assert again.finding() == test.finding()
    for _ in range(30):
        row = (TICK, 10, rng.randrange(3), 90, rng.randrange(3))
        assert again.step(*row) == test.step(*row)


def test_a_finding_that_fired_is_still_one_after_a_restart_of_the_process() -> None:
    test = TwoArms(margin=0.002)
    fired = test.step(TICK, 50, 50, 50, 0)
    again = TwoArms(margin=0.002)
    again.restore(through_json(test.dump()))
    assert again.finding() == fired


def test_only_the_history_is_taken_over_where_the_limits_changed() -> None:
    test = warm(TwoArms(margin=0.002))
    test.step(TICK, 50, 50, 50, 0)
    again = TwoArms(margin=0.1)
    again.restore(through_json(test.dump()), history_only=True)
    assert (again.rate, again.finding().agent, again.finding().fired) == (test.rate, 0, False)


GOOD = warm(TwoArms(margin=0.002)).dump()


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("unfit", [None, [], [1], "x", {"a": 1}, [float("nan")] * 6, [-1.0] * 6, [[1] * 6] * 2])
def test_a_memory_that_is_none_of_ours_is_refused(at: int, unfit: object) -> None:
    if (at, unfit) == (0, []):
        return  # nothing fired: that is ours
    with pytest.raises(ValueError, match=r"list|number|below|finding"):
        TwoArms(margin=0.002).restore([*GOOD[:at], unfit, *GOOD[at + 1 :]])


# Against a rate that is given


def test_one_arm_finds_an_outage_and_bears_what_is_allowed() -> None:
    rng, test = Random("one arm"), OneArm(0.015)
    for _ in range(5_000):
        assert not test.step(TICK, 10, sum(rng.random() < 0.015 for _ in range(10))).fired
    steps = next(step for step in range(1, 100) if test.step(TICK, 10, 10).fired)
    assert steps <= 2
    assert test.finding().reason == "100.00% of 10 agent requests against 1.50% that are allowed (one-arm rule)"


def test_one_arm_blames_the_agent_for_everything_but_only_what_is_worse() -> None:
    test = OneArm(0.5)
    for _ in range(1_000):
        assert not test.step(TICK, 10, 5).fired
    assert OneArm(1.0).step(TICK, 10**6, 10**6).fired is False  # nothing is worse than that
    assert OneArm(0.0).step(TICK, 10, 10).fired


def test_one_arm_is_judged_provisionally_restarted_and_dumped_as_two_are() -> None:
    test = OneArm(0.01)
    for _ in range(50):
        test.step(TICK, 10, 0)
    test.step(TICK, 0, 0)
    before = test.dump()
    assert test.judge([Block(TICK, 10, 5)] * 3).fired
    assert test.dump() == before
    again = OneArm(0.9)
    again.restore(through_json(before))
    assert again.dump() == before
    for each in (test, again):
        assert each.step(TICK, 20, 20).fired
    again.restart()
    assert (again.finding().fired, again.finding().agent, again.reference) == (False, 0, 0.01)


@pytest.mark.parametrize("unfit", [None, [], [0.1, [], [], [], []], ["x", *OneArm(0.1).dump()[1:]]])
def test_a_memory_that_is_no_one_arms_is_refused(unfit: object) -> None:
    with pytest.raises(ValueError, match=r"list|number|below|finding"):
        OneArm(0.1).restore(unfit)


def test_the_reason_tells_what_it_fired_on_and_not_the_average_of_a_day() -> None:
    test = TwoArms(margin=0.002)
    for _ in range(10_000):
        test.step(TICK, 10, 0, 90, 1)
    while not (finding := test.step(TICK, 10, 5, 90, 1)).fired:
        pass
    assert finding.agent < 100
    assert finding.agent_rate > 0.4
    assert finding.legacy_rate == pytest.approx(1 / 90)
