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


def named(labels_: dict[str, list[Any]], clean: Any = str) -> labels.Naming:
    return labels.Naming(labels_, clean)


@pytest.mark.parametrize(
    ("decision", "name"),
    [
        ("approved", "approve"),
        ("approve", "approve"),
        (True, "approve"),
        ("true", "approve"),  # a header has texts alone
        (200, "approve"),
        (200.0, "approve"),
        ("rejected", "deny"),
        ("later", "later"),
        (False, False),
        (7, 7),
        (None, None),
        (MISSING, MISSING),
        (["approved"], ["approved"]),
        (MASK, MASK),
    ],
)
def test_a_decision_is_called_by_its_label_and_else_as_it_is(decision: Any, name: Any) -> None:
    found = named({"approve": ["approved", True, 200], "deny": ["rejected", MASK]})(decision)
    assert (found, type(found)) == (name, type(name))


def test_labels_are_found_in_cleaned_texts_and_texts_without_one_are_cleaned() -> None:
    naming = named({"Approve": ["OK"]}, str.casefold)
    assert [naming(text) for text in ("ok", "Ok", "approve", "Later", MASK)] == [
        "Approve", "Approve", "Approve", "later", MASK,
    ]  # fmt: skip


def test_labels_that_cleaning_makes_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^compare.labels: normalized, 'OK' means yes and no"):
        named({"yes": ["ok"], "no": ["OK"]}, str.casefold)


@given(st.one_of(st.text(), st.integers(), st.floats(allow_nan=False), st.booleans(), st.none()))
def test_a_name_names_itself(decision: Any) -> None:
    naming = named({"Yes": [1, "ja", True], "no": ["0"]}, str.casefold)
    assert naming(naming(decision)) == naming(decision)
