"""Which decisions are made otherwise, and what that costs."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.analysis.agreement import lower_bound
from proxy.analysis.confusion import Cell, cells, classes
from proxy.model.rollouts import ANOTHER, OTHER

DECISIONS = {("deny", "approve"): 3, ("approve", "approve"): 90, ("approve", "deny"): 2, ("deny", "deny"): 40}


def test_the_commonest_come_first_and_what_is_beyond_the_bound_last() -> None:
    found = cells({**DECISIONS, (OTHER, ANOTHER): 5, (OTHER, OTHER): 500}, {})
    assert [(cell.legacy, cell.agent) for cell in found] == [
        ("approve", "approve"), ("approve", "deny"), ("deny", "deny"), ("deny", "approve"),
        (OTHER, OTHER), (OTHER, ANOTHER),
    ]  # fmt: skip


def test_a_miss_costs_what_was_said_and_else_one_and_a_hit_nothing() -> None:
    found = cells(DECISIONS, {("approve", "deny"): 10.0, ("deny", "deny"): 99.0})
    assert [cell.cost for cell in found] == [0.0, 20.0, 0.0, 3.0]
    assert cells(DECISIONS, {("approve", "deny"): 0.0})[1] == Cell("approve", "deny", 2, 0.0)


def test_each_class_has_its_agreement_with_a_bound_that_holds_with_all_others() -> None:
    first, second = classes(cells(DECISIONS, {}), 0.05)
    assert (first.decision, first.agreed, first.missed, first.cost) == ("approve", 90, 2, 2.0)
    assert first.lower_bound == lower_bound(90, 2, 0.025) < lower_bound(90, 2, 0.05)
    assert (second.decision, second.agreed, second.missed) == ("deny", 40, 3)


def test_of_nothing_there_is_nothing() -> None:
    assert cells({}, {}) == ()
    assert cells({("a", "b"): 0}, {}) == ()
    assert classes((), 0.05) == ()


NAMES = st.sampled_from(["a", "b", "c", OTHER, ANOTHER])


@given(st.dictionaries(st.tuples(NAMES, NAMES), st.integers(0, 50)))
def test_classes_hold_all_pairs_once(decisions: dict[tuple[str, str], int]) -> None:
    found = cells(decisions, {})
    made = classes(found, 0.05)
    assert sum(each.agreed + each.missed for each in made) == sum(decisions.values())
    assert sum(each.missed for each in made) == sum(cell.cost for cell in found)
