"""Single values under a tolerance."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.compare_schema import parse_tolerance
from proxy.outcomes.likeness import alike
from proxy.outcomes.tree import Node, Rule

VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


def under(tolerance: Any) -> tuple[Node]:
    node = Node()
    node.obey(Rule("$", tolerance=parse_tolerance(tolerance)))
    return (node,)


@pytest.mark.parametrize(
    ("tolerance", "legacy", "agent", "same"),
    [
        ("1%", 100, 101, True),
        ("1%", 100, 101.01, False),
        (0.01, 1, 1.01, True),  # whatever the last binary digit is
        (0.01, 1.0, 1.011, False),
        (0.01, "1", "1.01", False),
        (5, 9007199254740993, 9007199254740998, True),
        (5, 9007199254740993, 9007199254740999, False),
        ("5s", "2026-11-22T08:00:00Z", "2026-11-22T08:00:05Z", True),
        ("5s", "2026-11-22T08:00:00Z", "2026-11-22T08:00:05.001Z", False),
        ("5s", "2026-11-22T08:00:00Z", "2026-11-22t09:00:03+01:00", True),
        ("5s", "2026-11-22T08:00:00", "2026-11-22T08:00:01", False),  # no RFC 3339: whose time is it?
        ("5s", "2026-02-30T08:00:00Z", "2026-02-30T08:00:01Z", False),
        ("5s", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", False),
        ("5s", 1_764_000_000, 1_764_000_004.5, True),
        ("5s", 1_764_000_000, 1_764_000_006, False),
        ("5s", 1_764_000_000, "2025-11-24T16:00:00Z", False),
        ("5s", True, 2, False),
        ("1%", None, 0, False),
    ],
)
def test_a_tolerance_covers_just_so_much(tolerance: Any, legacy: Any, agent: Any, same: bool) -> None:
    assert alike(legacy, agent, under(tolerance)) is same


def test_rules_of_one_path_add_up() -> None:
    node = Node()
    for tolerance in ("1%", 0.5):
        node.obey(Rule("$", tolerance=parse_tolerance(tolerance)))
    assert alike(1, 1.5, (node,))
    assert alike(1000, 1010, (node,))
    assert not alike(10, 11, (node,))


@given(VALUES, VALUES, st.sampled_from([0.01, "5s"]))
def test_only_a_share_depends_on_who_is_who(one: Any, other: Any, tolerance: Any) -> None:
    assert alike(one, other, under(tolerance)) is alike(other, one, under(tolerance))
    assert alike(one, one, under(tolerance))
