"""What makes the two arms agree, as an operator writes it."""

from typing import Any

import pytest

from proxy.config.compare_schema import Compare, HeaderDecision, StatusDecision, Tolerance, parse_miss, spelled


def written(value: Any) -> Any:
    """A tolerance as it was read, and as it is shown."""
    section = Compare.model_validate({"fields": {"tolerance": {"$.a": value}}}).fields
    return section.tolerance["$.a"], section.model_dump(mode="json")["tolerance"]["$.a"]


@pytest.mark.parametrize(
    ("value", "tolerance", "shown"),
    [
        ("1%", Tolerance(share=0.01), "1%"),
        ("0.5 %", Tolerance(share=0.005), "0.5%"),
        ("5s", Tolerance(seconds=5.0), "5s"),
        ("1m30s", Tolerance(seconds=90.0), "90s"),
        (0.01, Tolerance(number=0.01), 0.01),
        ("0.01", Tolerance(number=0.01), 0.01),  # of a reference
        (1e-06, Tolerance(number=1e-6), 1e-6),
        (3, Tolerance(number=3.0), 3.0),
        (0, Tolerance(), 0.0),
    ],
)
def test_a_tolerance_is_a_share_a_time_or_a_number(value: Any, tolerance: Tolerance, shown: Any) -> None:
    assert written(value) == (tolerance, shown)
    assert written(shown) == (tolerance, shown)


@pytest.mark.parametrize("value", [True, -1, "-5s", "1e999", "101%", "5x", "s", "", None, ["1%"], float("inf")])
def test_anything_else_is_none(value: Any) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        written(value)


@pytest.mark.parametrize(
    ("decision", "read"),
    [
        ("$.decision", "$.decision"),
        ("status", "status"),
        ({"header": "X-Decision"}, HeaderDecision(header="X-Decision")),
        ({"status": {"ok": 200, "no": [403, 404]}}, StatusDecision(status={"ok": (200,), "no": (403, 404)})),
    ],
)
def test_a_decision_is_a_path_a_header_or_the_status(decision: Any, read: Any) -> None:
    found = Compare.model_validate({"decision": decision})
    assert found.decision == read
    assert Compare.model_validate(found.model_dump(mode="json")) == found


def test_one_step_and_one_meaning_need_no_list() -> None:
    found = Compare.model_validate(
        {"decision": "$.d", "labels": {"yes": True, "no": ["n", 0]}, "fields": {"normalize": {"$.d": "case"}}}
    )
    assert found.labels == {"yes": (True,), "no": ("n", 0)}
    assert found.fields.normalize == {"$.d": ("case",)}


def test_a_miss_is_legacys_decision_and_then_the_agents() -> None:
    assert parse_miss("approve->deny") == ("approve", "deny")
    assert Compare.model_validate({"decision": "$.d", "cost": {" a b -> c ": 2}}).cost == {"a b->c": 2.0}


@pytest.mark.parametrize("miss", ["approve", "->deny", "approve->", "a->b->c", "a->a", 7])
def test_what_is_no_miss_is_refused(miss: Any) -> None:
    with pytest.raises(ValueError, match="is no miss"):
        parse_miss(miss)


def test_values_are_told_apart_as_they_are_written() -> None:
    assert [spelled(value) for value in (True, False, 1, 1.0, 0.5, 1e300, "x")] == [
        "true", "false", "1", "1", "0.5", "1e+300", "x",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="already means yes"):
        Compare.model_validate({"decision": "$.d", "labels": {"yes": [1], "no": ["1"]}})
