"""Sums of evidence: nothing is lost, the order does not matter, and the number of names is bounded."""

import pytest
from hypothesis import given

from proxy.model.rollouts import ANOTHER, OTHER, ArmCount, Evidence
from proxy.storage.tally import FIELDS, MAX_NAMED, Tally, add, from_row, row
from tests.unit.storage.evidence import EVIDENCE


@given(EVIDENCE, EVIDENCE, EVIDENCE)
def test_adding_is_associative_and_commutative_and_nothing_is_zero(a: Evidence, b: Evidence, c: Evidence) -> None:
    assert add(add(a, b), c) == add(a, add(b, c))
    assert add(a, b) == add(b, a)
    assert add(a, Evidence()) == a


@given(EVIDENCE)
def test_a_row_is_read_as_what_it_was_made_of(evidence: Evidence) -> None:
    assert from_row(row(evidence), evidence.segments, evidence.decisions) == evidence


def test_fields_are_counted_where_they_belong() -> None:
    tally = Tally()
    for place, field in enumerate(FIELDS):
        tally.count(field, 10**place)
    evidence = tally.evidence()
    assert evidence.legacy == ArmCount(1, 10, 100)
    assert evidence.agent == ArmCount(10**3, 10**4, 10**5)
    assert {field: getattr(evidence, field) for field in FIELDS[6:]} == {
        field: 10**place for place, field in enumerate(FIELDS[6:], 6)
    }


def test_the_counts_of_an_older_layout_are_read() -> None:
    nine = from_row((9, 1, 2, 8, 3, 0, 5, 2, 1))
    assert nine == Evidence(ArmCount(9, 1, 2), ArmCount(8, 3, 0), 5, 2, 1)


@pytest.mark.parametrize("counts", [(), (1,) * 5, (1,) * (len(FIELDS) + 1)])
def test_too_few_or_many_counts_are_no_evidence(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="counts are no evidence"):
        from_row(counts)


def test_segments_beyond_the_bound_are_one() -> None:
    tally = Tally()
    for number in range(MAX_NAMED + 50):
        tally.segment(f"s{number}", 2, 1)
        tally.segment("s0", 0, 1)
    segments = tally.evidence().segments
    assert len(segments) == MAX_NAMED + 1
    assert segments["s0"] == (2, 1 + MAX_NAMED + 50)  # who has a place keeps it
    assert segments[OTHER] == (100, 50)


def test_decisions_beyond_the_bound_stay_the_same_or_different() -> None:
    tally = Tally()
    for number in range(MAX_NAMED):
        tally.decision((f"d{number}", "no"))
    for number in range(30):
        tally.decision((f"e{number}", f"e{number}"))
        tally.decision((f"e{number}", "no"), 2)
    decisions = tally.evidence().decisions
    assert len(decisions) == MAX_NAMED + 2
    assert (decisions[OTHER, OTHER], decisions[OTHER, ANOTHER]) == (30, 60)


def test_what_was_taken_out_is_not_changed_by_what_comes_later() -> None:
    tally = Tally()
    tally.segment("a", 1, 0)
    tally.decision(("x", "y"))
    before = tally.evidence()
    tally.segment("a", 1, 0)
    tally.decision(("x", "y"))
    assert (before.segments, before.decisions) == ({"a": (1, 0)}, {("x", "y"): 1})
