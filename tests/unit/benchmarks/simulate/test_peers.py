"""The peers' rules do what their documents say, on series made by hand: 20 requests in each row of a second."""

from benchmarks.simulate.peers import argo, breaker, flagger, msprt
from benchmarks.simulate.traffic import Series

PER_SECOND = 20


def series(agent_bad: list[int], legacy_bad: int = 0) -> Series:
    """A row of a second for each number of bad ones of the agent."""
    rows = len(agent_bad)
    return Series(
        ends=[float(second) for second in range(1, rows + 1)],
        agent=[PER_SECOND] * rows,
        agent_bad=agent_bad,
        legacy=[PER_SECOND] * rows,
        legacy_bad=[legacy_bad] * rows,
    )


def minutes(*bad: int) -> list[int]:
    """So many bad ones in the last second of each minute."""
    return [second for count in bad for second in (*([0] * 59), count)]


def test_flagger_rolls_back_at_the_fifth_minute_below_99_percent() -> None:
    assert flagger(series(minutes(20, 20, 20, 20, 0))) is None
    assert flagger(series(minutes(20, 20, 20, 20, 20))) == 300.0


def test_flagger_adds_up_failed_checks_that_are_not_in_a_row() -> None:
    assert flagger(series(minutes(20, 0, 20, 0, 20, 0, 20, 0, 20))) == 540.0


def test_flagger_lets_99_percent_pass() -> None:
    assert flagger(series(minutes(*[12] * 10))) is None  # 12 of 1,200
    assert flagger(series(minutes(*[13] * 10))) == 300.0


def test_argo_rolls_back_at_the_fourth_measurement_below_95_percent() -> None:
    bad = minutes(0, 0, 0, 0, 20)  # 20 of the 300 requests between the last two scrapes
    assert argo(series(bad * 3)) is None
    assert argo(series(bad * 4)) == 1200.0
    assert argo(series(minutes(0, 0, 0, 0, 15) * 4)) is None  # 95 % exactly


def test_argo_sees_only_what_lies_between_the_last_two_scrapes() -> None:
    assert argo(series(([20] * 285 + [0] * 15) * 4)) is None


def test_the_breaker_opens_when_half_of_a_hundred_within_ten_seconds_failed() -> None:
    assert breaker(series([0] * 20 + [9] * 30)) is None
    assert breaker(series([0] * 20 + [20] * 10)) == 25.0  # 100 of the last 200
    assert breaker(series([20] * 4)) is None  # only 80 requests
    assert breaker(series([20] * 5)) == 5.0


def test_msprt_finds_a_difference_and_none_where_there_is_none() -> None:
    assert msprt(series([1] * 1000, legacy_bad=1)) is None
    assert msprt(series([1] * 1000, legacy_bad=2)) is None  # the agent is the better one
    found = msprt(series([2] * 1000, legacy_bad=1))
    assert found is not None
    assert 10 < found < 500


def test_nobody_judges_a_series_without_requests() -> None:
    empty = Series([1.0, 2.0], [0, 0], [0, 0], [0, 0], [0, 0])
    assert [rule(empty) for rule in (flagger, argo, breaker, msprt)] == [None] * 4
