"""Rollouts in a terminal of 80 columns."""

from datetime import UTC, datetime

from proxy.cli.routes import route_view, routes_table
from tests.integration.admin_world import PLAIN, ROUTE
from tests.unit.cli.screen import shown

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def test_a_route_in_one_line() -> None:
    assert shown(routes_table([ROUTE], NOW)) == [
        ["route", "phase", "stage", "weight", "for", "legacy", "agent", "agreement"],
        ["refunds", "progressing", "canary", "5 %", "1h 30m", "950 / 0.1%", "50 / 4.0%", "90.0%"],
    ]


def test_a_route_without_rollout() -> None:
    assert shown(routes_table([PLAIN], NOW))[1] == ["plain", "all to human"]
    assert shown(route_view(PLAIN, NOW)) == [["plain", "all to human; no rollout"]]


def test_a_route_that_stands_still_says_why_below() -> None:
    route = {**ROUTE, "phase": "degraded", "reason": "the breaker tripped"}
    assert shown(routes_table([route, PLAIN], NOW))[-1] == ["refunds: the breaker tripped"]


def test_a_rollout_of_which_the_store_has_not_said_since_when() -> None:
    assert shown(routes_table([{**ROUTE, "since": None}], NOW))[1][4] == "-"


def test_one_route_with_all_that_keeps_it_where_it_is() -> None:
    rule = {**ROUTE["gates"][0], "name": "error_rate", "verdict": "passed", "reason": "not worse than legacy"}
    assert shown(route_view({**ROUTE, "guard": [rule]}, NOW)) == [
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


def test_text_from_outside_is_no_markup() -> None:
    route = {**ROUTE, "reason": "[red]look[/red] [link=x]"}
    assert shown(route_view(route, NOW))[1] == ["reason", "[red]look[/red] [link=x]"]
