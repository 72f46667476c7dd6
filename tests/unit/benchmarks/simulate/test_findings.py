import pytest

from benchmarks.simulate.findings import Findings, Times, few_enough, join, upper


@pytest.mark.parametrize(
    ("hits", "runs", "bound"), [(0, 1000, 0.00299), (1, 1000, 0.00474), (5, 100, 0.1022), (3, 3, 1.0)]
)
def test_an_upper_bound_is_that_of_clopper_and_pearson(hits: int, runs: int, bound: float) -> None:
    assert upper(hits, runs) == pytest.approx(bound, rel=0.01)


def test_a_share_over_its_goal_may_be_chance_where_there_are_few_runs() -> None:
    assert few_enough(2, 100, 0.001) is False
    assert few_enough(1, 100, 0.001) is True
    assert few_enough(1, 1000, 0.001) is True
    assert few_enough(5, 1000, 0.001) is False


def test_times_are_told_from_the_fault_on_and_early_ones_apart() -> None:
    times = Times(limit=600)
    for fired in (100.5, 102.0, None, 50.0):
        times.add(fired, fault=100.0)
    assert times.median == 2.0
    assert str(times) == "2.0 s, 1 of 4 before"


def test_most_runs_without_a_rollback_and_most_before_the_fault_have_words() -> None:
    never, early = Times(limit=600), Times(limit=600)
    for fired in (None, None, 101.0):
        never.add(fired, fault=100.0)
    early.add(20.0, fault=100.0)
    assert (str(never), str(early)) == ("not in 10 min", "before the fault")


def test_goals_that_are_not_met_are_listed_at_the_end() -> None:
    found = Findings("Speed", "About.", ("what", "seconds"))
    found.add("outage", "0.2", goal="at most 1", met=True)
    found.add("trickle", "9", goal="at most 6", met=False)
    found.add("other", "7")
    assert join([found]).endswith("Goals: 1 met, 1 not met:\n\n- Speed: trickle; the goal is at most 6")
