"""What is drawn is what was asked for."""

from random import Random
from statistics import mean, variance

import pytest

from benchmarks.simulate.flights import Phase, failing, fly
from benchmarks.simulate.traffic import SLOT, Stretch, draw, poisson
from proxy.model.rollouts import Arrived


@pytest.mark.parametrize("expected", [0.05, 3.0, 400.0, 5_000.0])
def test_counts_have_the_mean_and_the_variance_of_a_poisson(expected: float) -> None:
    counts = poisson(Random(f"poisson {expected}"), expected, 20_000)
    assert mean(counts) == pytest.approx(expected, rel=0.05)
    assert variance(counts) == pytest.approx(expected, rel=0.08)


def test_nothing_is_drawn_of_nothing() -> None:
    assert poisson(Random(0), 0.0, 3) == [0, 0, 0]


def test_stretches_follow_each_other_in_rows_of_their_own_length() -> None:
    series = draw(Random(1), [Stretch(2, 100, 300, 0.0, 1.0, 1.0), Stretch(0.4, 100, 300, 1.0, 0.0, 0.2)])
    assert series.ends == pytest.approx([1.0, 2.0, 2.2, 2.4])
    assert series.agent_bad == [0, 0, *series.agent[2:]]
    assert series.legacy_bad == [*series.legacy[:2], 0, 0]


def test_a_request_arrives_in_one_slot_and_ends_in_another() -> None:
    flights = fly(Random(2), [Phase(SLOT, 50, 0, failing(1.0, well=0, badly=3), ()), Phase(1.0, 0, 0, (), ())])
    arrived = flights.agent[0]
    assert flights.rows(0) == (Arrived(0, agent=arrived),)
    assert flights.rows(1) == (Arrived(1),)
    assert flights.rows(3) == (Arrived(3), Arrived(0, agent_ended=arrived, agent_failed=arrived))
    assert flights.by_end().agent_bad == [0, 0, 0, arrived, 0, 0]


def test_what_the_agent_fails_legacy_takes_over_as_it_then_does_with_its_own() -> None:
    phase = Phase(SLOT, 50, 0, failing(1.0, well=0, badly=1), failing(0.0, well=0, badly=0))
    flights = fly(Random(2), [phase, Phase(1.0, 0, 0, (), failing(1.0, well=0, badly=2))])
    taken = [(slot, ended.arrived, ended.bad) for slot, all_ended in flights.taken.items() for ended in all_ended]
    assert taken == [(3, 1, True)] * flights.agent[0]
