"""What a terminal shows."""

from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from proxy.cli import tables
from tests.integration.admin_world import PAIR, PLAIN, ROUTE

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def shown(renderable: Any, *, width: int = 80) -> list[list[str]]:
    """The lines, each split where two spaces part columns."""
    console = Console(width=width)
    with console.capture() as captured:
        console.print(renderable)
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in captured.get().splitlines()]


def test_a_route_in_one_line() -> None:
    assert shown(tables.routes_table([ROUTE], NOW)) == [
        ["route", "phase", "stage", "weight", "for", "legacy", "agent", "agreement"],
        ["refunds", "progressing", "canary", "5 %", "1h 30m", "950 / 0.1%", "50 / 4.0%", "90.0%"],
    ]


def test_a_route_without_rollout() -> None:
    assert shown(tables.routes_table([PLAIN], NOW))[1] == ["plain", "all to human"]
    assert shown(tables.route_view(PLAIN, NOW)) == [["plain", "all to human; no rollout"]]


def test_a_route_that_stands_still_says_why_below() -> None:
    route = {**ROUTE, "phase": "degraded", "reason": "the breaker tripped"}
    assert shown(tables.routes_table([route, PLAIN], NOW))[-1] == ["refunds: the breaker tripped"]


def test_a_rollout_of_which_the_store_has_not_said_since_when() -> None:
    assert shown(tables.routes_table([{**ROUTE, "since": None}], NOW))[1][4] == "-"


def test_one_route_with_all_that_keeps_it_where_it_is() -> None:
    rule = {**ROUTE["gates"][0], "name": "error_rate", "verdict": "passed", "reason": "not worse than legacy"}
    assert shown(tables.route_view({**ROUTE, "guard": [rule]}, NOW)) == [
        ["refunds", "progressing at canary, version 2026-11-22, for 1h 30m"],
        ["reason", "the gates passed"],
        ["traffic", "5 % to agent, 100 % copied to it"],
        ["legacy", "950 requests, 0.1% failed (human)"],
        ["agent", "50 requests, 4.0% failed (agent)"],
        ["agreement", "90.0%, surely 71.0%; 36 matched, 4 mismatched, 0 incomparable"],
        [],
        ["check", "verdict", "reason"],
        ["min_samples", "inconclusive", "40 of 500 samples"],
        ["guard error_rate", "passed", "not worse than legacy"],
    ]


def test_a_pair_in_one_line() -> None:
    pair = {**PAIR, "id": "refunds.1795510493007-0"}
    assert shown(tables.pairs_table([pair]), width=100) == [
        ["pair", "at", "verdict", "mode", "legacy", "agent", "differs"],
        ["refunds.1795510493007-0", "08:00:01", "mismatched", "legacy", "approve", "deny", "$.decision"],
    ]


def test_in_80_columns_only_what_differs_wraps() -> None:
    pair = {**PAIR, "id": "refunds.1795510493007-0", "mode": "fallback"}
    assert shown(tables.pairs_table([pair]))[1][:-1] == [
        "refunds.1795510493007-0", "08:00:01", "mismatched", "fallback", "approve", "deny",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (None, "-"),
        ({"status": 0, "decision": None, "error": "timeout"}, "timeout"),
        ({"status": 204, "decision": None, "error": None}, "204"),
        ({"status": 200, "decision": 0, "error": None}, "0"),
        ({"status": 409, "decision": "deny", "error": None}, "deny (409)"),
    ],
)
def test_an_arm_s_outcome(outcome: dict[str, Any] | None, text: str) -> None:
    assert shown(tables.pairs_table([{**PAIR, "agent": outcome}]))[1][5] == text


def test_a_request_that_one_arm_alone_saw_has_no_verdict() -> None:
    pair = {**PAIR, "verdict": None, "arm": "agent", "mode": "canary", "legacy": None, "differences": []}
    assert shown(tables.pairs_table([pair]))[1][2:] == ["-", "canary", "-", "deny"]


def test_text_from_outside_is_no_markup() -> None:
    route = {**ROUTE, "reason": "[red]look[/red] [link=x]"}
    assert shown(tables.route_view(route, NOW))[1] == ["reason", "[red]look[/red] [link=x]"]


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
