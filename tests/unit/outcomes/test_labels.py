"""What pairs are counted under: short, printable, and never what was hidden."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.rollouts import ANOTHER
from proxy.model.words import Match
from proxy.outcomes import labels
from proxy.outcomes.decision import MISSING
from proxy.outcomes.redact import MASK


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("card", "card"),
        ("  card ", "card"),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (1.0, "1"),
        (-0.5, "-0.5"),
        (1e300, "1e+300"),
        ("a\x00b\n\x1b[31mc", "ab[31mc"),
        ("a\u202eb\u200bc", "abc"),
        ("größer", "größer"),
        ("x" * 65, "x" * 64),
        (10**100, "1" + "0" * 63),
        (MASK, MASK),
        ("", "(none)"),
        (" \t", "(none)"),
        (None, "(none)"),
        (MISSING, "(none)"),
        ([], "(none)"),
        (["card"], "(none)"),
        ({"a": 1}, "(none)"),
    ],
)
def test_a_label_is_short_and_printable(value: Any, label: str) -> None:
    assert labels.label(value) == label


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans()))
def test_whatever_comes_a_label_is_short_and_printable(value: Any) -> None:
    label = labels.label(value)
    assert 1 <= len(label) <= labels.MAX_LABEL
    assert label.isprintable()


YES = labels.one_of(["approve", True, 1])


@pytest.mark.parametrize(
    ("legacy", "agent", "direction"),
    [
        ("approve", "deny", "agent_no"),
        ("deny", "approve", "agent_yes"),
        (None, True, "agent_yes"),
        ("deny", 1.0, "agent_yes"),
        ("approve", 1, None),
        ("deny", "escalate", None),
        ("deny", "1", None),  # types are strict: neither text nor number is the other
        (False, 2, None),
        ("approve", MISSING, None),
        ("approve", ["deny"], None),
        ("approve", MASK, None),
        (MASK, "approve", None),
    ],
)
def test_a_direction_is_who_alone_said_yes(legacy: Any, agent: Any, direction: str | None) -> None:
    assert labels.direction(YES, legacy, agent) == direction


def test_true_is_no_number() -> None:
    assert not labels.one_of([1])(True)
    assert not labels.one_of([True])(1)
    assert labels.one_of([1])(1.0)


@pytest.mark.parametrize(
    ("verdict", "legacy", "agent", "decisions"),
    [
        (Match.MATCHED, "approve", "approve", ("approve", "approve")),
        (Match.MISMATCHED, "approve", "deny", ("approve", "deny")),
        (Match.MISMATCHED, None, "deny", ("(none)", "deny")),
        (Match.MATCHED, 100, 100.5, ("100", "100")),  # within tolerance
        (Match.MISMATCHED, 1, "1", ("1", ANOTHER)),
        (Match.MISMATCHED, "x" * 70, "x" * 71, ("x" * 64, ANOTHER)),
        (Match.MISMATCHED, MISSING, "deny", None),
        (Match.MISMATCHED, {"a": 1}, "deny", None),
        (Match.MISMATCHED, "approve", ["deny"], None),
        (Match.MISMATCHED, MASK, MASK, None),
    ],
)
def test_decisions_are_the_same_where_the_pair_matched_and_only_there(
    verdict: Match, legacy: Any, agent: Any, decisions: tuple[str, str] | None
) -> None:
    assert labels.decisions(verdict, legacy, agent) == decisions
