"""The guard's test: how soon it finds a fault of the agent, and that it blames nobody else's.

Traffic is drawn tick by tick (0.2 s): ten agent and ninety legacy requests, or one and nine.
"""

from collections.abc import Callable
from math import log
from random import Random

import pytest

from proxy.analysis.sequential import Finding, TwoArms

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
