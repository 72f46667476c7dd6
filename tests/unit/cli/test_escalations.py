"""What was handed over, in a terminal of 80 columns."""

from typing import Any

from proxy.cli.escalations import escalation_view, escalations_table
from proxy.outcomes.escalation import summary
from tests.integration.escalation_world import pair
from tests.unit.admin.test_escalation_page import step
from tests.unit.cli.screen import lines, shown

ID = "0196c3b2-7d1e-7a44-9a55-0123456789ab"


def found(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    document = {"id": "refunds.1795510493007-0", **pair(1, **changes), "steps": list(steps)}
    return {**summary("refunds", ID, document), "pair": document}


def test_one_in_a_line() -> None:
    assert shown(escalations_table([found()]), width=120) == [
        ["escalation", "at", "reason", "said"],
        [ID, "2026-11-22 08:00:01", "timeout", "no answer within 20 s"],
    ]


def test_80_columns_are_enough() -> None:
    long = {
        **found(),
        "detail": "the customer wrote in a language that I do not know " * 3,
        "reason": "connect_failure",
    }
    assert max(map(len, lines(escalations_table([long])))) <= 80
    whole = found(
        step("pay_out", writes=True, arguments={"note": "x" * 300}), request={"method": "GET", "target": "/" * 200}
    )
    assert max(map(len, lines(escalation_view(whole)))) <= 80


def test_all_of_one_with_what_was_done_on_top() -> None:
    whole = found(
        step("agent", kind="agent"),
        step("look_up", depth=1),
        step("pay_out", depth=1, writes=True, arguments={"amount": 42}, error="Timeout"),
        step("notify", depth=1, writes=None),
    )
    text = "\n".join(lines(escalation_view(whole)))
    done, rest = text.split("\nrequest\n")
    assert "timeout: no answer within 20 s" in done
    assert "pay_out" in done
    assert 'arguments: {"amount":42}' in done
    assert "failed: Timeout" in done
    assert "not known whether these changed anything: notify" in done
    assert "look_up" not in done
    for part in ("POST /refunds", '"order-1"', "no answer, timeout, after 20.0 s", "(only the beginning was kept)",
                 "look_up", "202, after 50 ms", '"case_id"'):  # fmt: skip
        assert part in rest, part


def test_of_an_agent_that_tells_nothing_it_says_so() -> None:
    text = "\n".join(lines(escalation_view(found(legacy=None))))
    assert "unknown: the agent told of no steps" in text
    assert "nothing yet" in text


def test_a_terminal_is_told_nothing_by_who_wrote_it() -> None:
    whole = found(
        step("\x1b[2J[bold]x[/bold]", writes=True), request={"method": "GET", "target": "/", "body": "\x1b]0;t\x07"}
    )
    text = "\n".join(lines(escalation_view(whole)))
    assert "\x1b]" not in text
    assert "\x1b[2J" not in text
    assert "\\u001b[2J[bold]x[/bold]" in text
    assert "\\u001b]0;t\\u0007" in text


def test_what_cannot_be_opened_is_said() -> None:
    document = {"id": "refunds.1-0", "unreadable": "its key is not there"}
    assert lines(escalation_view({**summary("refunds", ID, document), "pair": document})) == [
        "it cannot be read: its key is not there"
    ]
