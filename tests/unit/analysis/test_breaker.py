"""The breaker: how soon it trips, and on what it does not."""

from random import Random

import pytest

from proxy.analysis.breaker import TOTAL, Breaker


def requests_until_tripped(breaker: Breaker, rng: Random, error_rate: float, most: int) -> int | None:
    for request in range(1, most + 1):
        if breaker.record(rng.random() < error_rate):
            return request
    return None


def test_a_total_outage_trips_it_at_the_eighth_request() -> None:
    breaker = Breaker()
    assert [breaker.record(True) for _ in range(7)] == [None] * 7
    assert breaker.record(True) == "8 of the agent's last 8 requests failed"


def test_an_outage_after_a_long_good_time_trips_it_as_fast() -> None:
    breaker = Breaker()
    for _ in range(100_000):
        breaker.record(False)
    assert requests_until_tripped(breaker, Random(1), 1.0, 100) == 8


def test_it_speaks_once() -> None:
    breaker = Breaker()
    reasons = []
    for _ in range(100):
        if reason := breaker.record(True):
            breaker.tripped = True
            reasons.append(reason)
    assert len(reasons) == 1
    assert breaker.record(False) is None


def test_it_knows_since_when_and_how_much_fails() -> None:
    breaker = Breaker()
    for slot, bad in ((7, True), (8, True), (6, True), (9, False)):
        breaker.record(bad, slot=slot)
    assert (breaker.since, breaker.suspected) == (6, TOTAL)
    for _ in range(100):
        breaker.record(False)
    breaker.record(True, slot=500)
    assert breaker.since == 500


def test_what_would_trip_it_does_so_until_the_agent_is_well() -> None:
    breaker = Breaker()
    for _ in range(8):
        assert not breaker.over
        breaker.record(True)
    assert breaker.over
    for _ in range(20):
        breaker.record(False)
    assert not breaker.over


def test_what_went_on_without_a_trip_is_soon_forgotten() -> None:
    """A fault of both arms, which is not the agent's."""
    breaker = Breaker()
    for _ in range(10_000):
        breaker.record(True)
    for _ in range(100):
        breaker.record(False)
    assert breaker.record(True) is None


def test_what_is_normal_may_change_on_the_way() -> None:
    breaker = Breaker()
    breaker.refer(0.25)
    assert requests_until_tripped(breaker, Random("normal"), 0.25, 50_000) is None
    breaker.refer(0.01)  # never below the floor
    assert requests_until_tripped(breaker, Random("worse"), 0.9, 200) is not None


@pytest.mark.parametrize("seed", range(3))
def test_a_healthy_agent_with_one_percent_errors_never_trips_it(seed: int) -> None:
    assert requests_until_tripped(Breaker(), Random(seed), 0.01, 200_000) is None


def test_an_agent_at_the_reference_does_not_trip_it() -> None:
    assert requests_until_tripped(Breaker(reference=0.05), Random("reference"), 0.05, 200_000) is None


def test_where_errors_are_normal_a_higher_reference_bears_them() -> None:
    assert requests_until_tripped(Breaker(reference=0.25), Random("normal"), 0.25, 50_000) is None
    assert requests_until_tripped(Breaker(reference=0.25), Random("worse"), 0.9, 200) is not None


def test_half_of_the_requests_failing_trips_it_soon() -> None:
    needed = requests_until_tripped(Breaker(), Random("half"), 0.5, 1000)
    assert needed is not None
    assert needed <= 60


def test_a_reference_of_one_blames_nobody_for_failures() -> None:
    assert requests_until_tripped(Breaker(reference=1.0), Random(2), 1.0, 1000) is None


def test_connect_failures_in_a_row_trip_it_whatever_the_reference() -> None:
    breaker = Breaker(reference=1.0, connect_failures=10)
    assert [breaker.record(True, connect_failure=True) for _ in range(9)] == [None] * 9
    assert breaker.record(True, connect_failure=True) == "10 connect failures of the agent in a row"


def test_a_success_between_starts_the_row_anew_and_another_failure_does_not() -> None:
    breaker = Breaker(reference=1.0, connect_failures=3)
    breaker.record(True, connect_failure=True)
    breaker.record(True, connect_failure=True)
    breaker.record(False)
    breaker.record(True, connect_failure=True)
    breaker.record(True)
    assert breaker.record(True, connect_failure=True) is None
    assert breaker.record(True, connect_failure=True) == "3 connect failures of the agent in a row"


def test_the_reason_counts_since_all_was_well() -> None:
    breaker = Breaker()
    breaker.record(True)
    for _ in range(50):
        breaker.record(False)  # forgiven
    assert requests_until_tripped(breaker, Random(3), 1.0, 20) == 8
    again = Breaker()
    outcomes = [True, True, True, False, *[True] * 20]
    reason = next(reason for bad in outcomes if (reason := again.record(bad)))
    assert reason == "9 of the agent's last 10 requests failed"
