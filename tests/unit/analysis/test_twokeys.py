"""The fast rule where legacy fails too: it blames the agent for its own faults, and for no others."""

from json import dumps, loads
from random import Random

import pytest

from benchmarks.simulate.traffic import Series, Stretch, draw
from proxy.analysis.block import Block
from proxy.analysis.history import History
from proxy.analysis.sequential import Finding, TwoArms

TICK = 0.2


def rising(seed: int) -> Series:
    """Both arms, with a request a second each: half an hour with 5 % bad ones, and within six minutes that has doubled
    and more."""
    rates = [(1_800.0, 0.05), (120.0, 0.07), (120.0, 0.1), (120.0, 0.14), (600.0, 0.14)]
    return draw(Random(f"doubling {seed}"), [Stretch(seconds, 1.0, 1.0, rate, rate) for seconds, rate in rates])


def fed(series: Series) -> TwoArms:
    test, before = TwoArms(margin=0.002), 0.0
    for end, *counts in series.rows():
        if any(counts):
            test.add(Block(end - before, *counts))
            before = end
    return test


def failing(test: TwoArms, ticks: int, agent_bad: int, legacy_bad: int) -> Finding:
    """With 50 requests a second of each arm."""
    for _ in range(ticks):
        test.add(Block(TICK, 10, agent_bad, 10, legacy_bad))
    return test.finding()


FIRED_ONCE = (6_780, 7_386, 8_205, 11_590, 12_923)
"""On these the agent was blamed, when it was held against legacy's last hour alone."""


@pytest.mark.parametrize("seed", FIRED_ONCE)
def test_both_arms_that_fail_more_and_more_often_blame_nobody(seed: int) -> None:
    assert not fed(rising(seed)).finding().fired


def test_held_against_legacys_last_hour_alone_the_agent_would_be_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(History, "rate_now", History.rate)
    monkeypatch.setattr(History, "doubt", 0.0)
    for seed in FIRED_ONCE:
        found = fed(rising(seed)).finding()
        assert (found.fired, found.rule) == (True, "fast")


def test_an_agent_that_breaks_while_both_fail_more_often_is_still_found_at_once() -> None:
    test = fed(rising(FIRED_ONCE[0]))
    assert failing(test, 5, 10, 2).fired


def test_while_legacy_fails_it_must_be_more_certain_that_the_agent_is_another_matter() -> None:
    calm, doubtful = TwoArms(margin=0.002), TwoArms(margin=0.002)
    for test in (calm, doubtful):
        for _ in range(100):
            test.add(Block(TICK, 0, 0, 100, 1))
        failing(test, 1, 0, 0)
    failing(doubtful, 20, 4, 5)
    took = [next(tick for tick in range(1, 100) if failing(test, 1, 10, 1).fired) for test in (calm, doubtful)]
    assert took[0] < took[1] <= 10


def test_every_tail_that_would_fire_is_looked_at_while_legacy_fails_too() -> None:
    rng, fired = Random("tails"), 0
    for _ in range(300):
        test = TwoArms(margin=0.002)
        for _ in range(rng.randrange(10, 60)):
            test.step(TICK, 10, rng.randrange(2), 90, rng.randrange(20))
        tail = [Block(TICK, 8, rng.randrange(2, 9), 60, rng.randrange(15)) for _ in range(rng.randrange(1, 6))]
        before = test.dump()
        judged = test.judge(tail)
        assert test.dump() == before
        for block in tail:
            test.add(block)
        assert judged.fired == test.finding().fired
        fired += judged.fired
    assert 50 < fired < 250


def test_what_is_known_of_legacys_fault_outlives_a_restart_of_the_test_and_of_the_process() -> None:
    test = fed(rising(FIRED_ONCE[1]))
    failing(test, 5, 3, 3)
    known = test._fast.legacy.dump()
    assert test._fast.legacy.doubt > 0
    test.restart()
    again, changed = TwoArms(margin=0.002), TwoArms(margin=0.1)
    again.restore(loads(dumps(test.dump())))
    changed.restore(loads(dumps(test.dump())), history_only=True)
    assert test._fast.legacy.dump() == again._fast.legacy.dump() == changed._fast.legacy.dump() == known
    for _ in range(30):
        assert failing(again, 1, 3, 1) == failing(test, 1, 3, 1)


def test_what_was_dumped_before_legacys_own_faults_were_known_is_refused() -> None:
    test = fed(rising(FIRED_ONCE[0]))
    fired, waiting, seen, slow, _ = test.dump()
    once = [1_800.0, 90.0, test._fast.cusum.dump()]
    for history_only in (False, True):
        with pytest.raises(ValueError, match="no list of 2"):
            TwoArms(margin=0.002).restore([fired, waiting, seen, slow, once], history_only=history_only)
