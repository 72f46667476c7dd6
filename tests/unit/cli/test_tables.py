"""What a terminal shows."""

from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from proxy.cli import tables
from tests.integration.admin_world import PAIR, PLAIN, ROUTE

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def shown(renderable: Any) -> list[list[str]]:
    """The lines, each split where two spaces part columns."""
    console = Console(width=400, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(renderable)
    return [[cell for cell in line.split("  ") if cell.strip()] for line in captured.get().splitlines()]


def test_a_route_in_one_line() -> None:
    _, line = shown(tables.routes_table([ROUTE], NOW))
    assert [cell.strip() for cell in line] == [
        "refunds", "progressing", "canary", "5 %", "100 %", "1h 30m", "950 (0.11% failed)", "50 (4.00% failed)",
        "90.0% (at least 71.0%)", "the gates passed",
    ]  # fmt: skip


def test_a_route_without_rollout() -> None:
    _, line = shown(tables.routes_table([PLAIN], NOW))
    assert [cell.strip() for cell in line] == ["plain", "all to human"]


def test_a_rollout_of_which_the_store_has_not_said_since_when() -> None:
    _, line = shown(tables.routes_table([{**ROUTE, "since": None}], NOW))
    assert line[5].strip() == "-"


def test_a_route_s_gates_stand_below_it() -> None:
    lines = shown(tables.route_view(ROUTE, NOW))
    assert [cell.strip() for cell in lines[-1]] == [
        "gate", "min_samples", "inconclusive", "40", "-", "500", "40", "40 of 500 samples",
    ]  # fmt: skip


def test_a_pair_in_one_line() -> None:
    _, line = shown(tables.pairs_table([PAIR]))
    assert [cell.strip() for cell in line] == [
        "2026-11-22T08:00:01.000Z", "refunds.1-0", "mismatched", "legacy", "approve (200)", "deny (200)", "$.decision",
    ]  # fmt: skip


def test_a_pair_with_one_arm_and_an_error() -> None:
    pair = {**PAIR, "verdict": "incomparable", "legacy": None, "differences": []}
    pair["agent"] = {"status": 0, "decision": None, "error": "timeout"}
    _, line = shown(tables.pairs_table([pair]))
    assert [cell.strip() for cell in line][2:] == ["incomparable", "legacy", "-", "timeout"]


def test_a_request_that_one_arm_alone_saw_has_no_verdict() -> None:
    pair = {**PAIR, "verdict": None, "arm": "agent", "mode": "canary", "legacy": None, "differences": []}
    _, line = shown(tables.pairs_table([pair]))
    assert [cell.strip() for cell in line][2:] == ["-", "canary", "-", "deny (200)"]


def test_text_from_outside_is_no_markup() -> None:
    route = {**ROUTE, "reason": "[red]look[/red] [link=x]"}
    assert shown(tables.routes_table([route], NOW))[1][-1].strip() == "[red]look[/red] [link=x]"


@pytest.mark.parametrize(
    ("since", "text"),
    [
        ("2026-11-22T09:29:55.500Z", "4s"),
        ("2026-11-22T09:28:55Z", "1m 5s"),
        ("2026-11-22T10:25:00+01:00", "5m 0s"),
        ("2026-11-20T07:30:00Z", "2d 2h"),
        ("2026-11-22T09:30:05Z", "0s"),  # another machine's clock is ahead
    ],
)
def test_how_long_ago(since: str, text: str) -> None:
    assert tables.age(since, NOW) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (1234, "1,234"), (0.00123456, "0.001235"), (0.95, "0.95")])
def test_numbers(value: float | None, text: str) -> None:
    assert tables.number(value) == text
