"""The page by which a human takes over."""

from typing import Any

import pytest

from proxy.admin.escalation_page import MAX_STEPS, show, writes
from proxy.outcomes.escalation import REASONS, summary
from tests.integration.escalation_world import pair
from tests.unit.admin.test_markup import tags

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def step(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": name, "parent": None, "depth": 0, "kind": "tool", "name": name, "at": "2026-11-22T08:00:01.200Z",
        "duration": 0.2, "model": None, "provider": None, "tokens": None, "arguments": None, "result": None,
        "finish": None, "call": None, "error": None, "action": None, "writes": False, "cut": False, **changes,
    }  # fmt: skip


def shown(*steps: dict[str, Any], **changes: Any) -> str:
    document = {"id": "refunds.1-0", **pair(1, **changes), "steps": list(steps)}
    return show({**summary("refunds", "e1", document), "pair": document})


def test_what_was_changed_already_stands_before_all_else() -> None:
    text = shown(
        step("look_up"),
        step("pay_out", writes=True, arguments={"order": "o1", "amount": 42}, result={"paid": True}),
    )
    done, rest = text.split("What happened", 1)
    assert "Already done: 1 change" in done
    assert "pay_out" in done
    assert "&quot;amount&quot;: 42" in done
    assert "look_up" not in done
    assert "look_up" in rest


def test_a_change_that_failed_is_shown_as_such() -> None:
    assert "failed: Timeout: no answer" in shown(step("pay_out", writes=True, error="Timeout: no answer"))


def test_a_call_inside_a_tool_is_the_tool_s() -> None:
    tool = step("pay_out", writes=True)
    call = step("POST", parent="pay_out", depth=1, kind="action", writes=True)
    alone = step("PUT", kind="action", writes=True)
    assert [each["name"] for each in writes([tool, call, alone])] == ["pay_out", "PUT"]
    circle = [step("a", parent="b", writes=True), step("b", parent="a")]
    assert [each["name"] for each in writes(circle)] == ["a"]


def test_what_may_have_changed_something_is_said_too() -> None:
    text = shown(step("notify", writes=None), step("notify", writes=None), step("look_up"))
    assert "It is not known whether these changed anything: <b>notify</b>" in text
    assert "The agent told of no change that it made." in text


def test_without_steps_it_says_that_nothing_is_known() -> None:
    assert "so what it did is not known. Look before you do anything twice." in shown()


def test_request_partial_answer_and_legacy_s_answer_are_there() -> None:
    text = shown()
    for part in (
        "POST /refunds", "order-1", "the order is late", "Only the beginning was kept.", "no answer within 20 s",
        "20.0 s", "case_id", "50 ms", f"{1:032x}", "refunds.1-0", "the agent did not answer in time",
    ):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_a_sentence(reason: str) -> None:
    document = {"id": "refunds.1-0", **pair()}
    text = show({**summary("refunds", "e1", document), "reason": reason, "pair": document})
    assert f"Handed over: {reason}" not in text


def evil(value: Any) -> Any:
    """The same shape with a script in every text, and in every name that is the sender's."""
    if isinstance(value, dict):
        return {name: evil(item) for name, item in value.items()}
    if isinstance(value, list):
        return [evil(item) for item in value]
    return EVIL if isinstance(value, str) else value


def test_no_field_can_hold_markup() -> None:
    tool = step("pay_out", writes=True, arguments={"a": "b"}, result="c", error="d", model="m", action="POST")
    document = {"id": "refunds.1-0", **pair(), "steps": [tool, step("other", writes=None)], "step_totals": {}}
    document["request"]["headers"] = {"x": "y"}
    calm = show({**summary("refunds", "e1", document), "pair": document})
    document = evil(document)
    document["request"]["headers"] = document["request"]["body"] = {EVIL: EVIL}
    document["steps"][0]["kind"] = document["steps"][1]["kind"] = "tool"
    found = dict.fromkeys(summary("refunds", "e1", {"id": ""}), EVIL) | {"pair": document, "duration": 20.0}
    text = show(found)
    assert tags(text) == tags(calm)
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("&lt;script&gt;") > 20


def test_what_cannot_be_opened_is_said() -> None:
    document = {"id": "refunds.1-0", "unreadable": "it was sealed with the key 'old'"}
    assert "sealed with the key &#x27;old&#x27;" in show({**summary("refunds", "e1", document), "pair": document})


def test_many_steps_are_cut_and_counted() -> None:
    text = shown(*(step(f"s{number}") for number in range(MAX_STEPS + 7)))
    assert "and 7 more that are not shown" in text


def test_what_was_decided_later_is_there() -> None:
    decided = {"decision": "deny", "decided_at": "2026-11-23T09:00:00.000Z", "by": "mia", "via": "api"}
    assert "deny, 2026-11-23 09:00:00.000 UTC by mia" in shown(revisions=[decided])


def test_legacy_may_not_have_answered() -> None:
    assert "it is with you now" in shown(legacy=None)
