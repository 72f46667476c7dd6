"""Rollouts in a terminal of 80 columns."""

from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.cli.routes import route_view, routes_table
from tests.integration.admin_world import PLAIN, ROUTE, check
from tests.unit.cli.screen import lines, shown

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def row(name: str, **changes: Any) -> str | None:
    """What stands beside `name` in the view of a route with these changes."""
    found = [line for line in shown(route_view({**ROUTE, **changes}, NOW), width=160) if line and line[0] == name]
    return found[0][1] if found else None


def test_a_route_in_one_line() -> None:
    assert shown(routes_table([ROUTE], NOW)) == [
        ["route", "phase", "stage", "weight", "for", "legacy", "agent", "agree"],
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


def test_a_busy_route_stays_in_one_line() -> None:
    totals = {
        "legacy": {"requests": 1_234_567, "failed": 1_000, "slow": 0},
        "agent": {"requests": 9_876, "failed": 1_234, "slow": 0},
    }
    route = {**ROUTE, "stage": "expand-10", "totals": totals}
    assert lines(routes_table([route], NOW))[1:] == [
        "refunds  progressing  expand-10  5 %     1h 30m  1.2M / 0.1%  9.9k / 12%  90.0%"
    ]


def test_one_route_with_all_that_keeps_it_where_it_is() -> None:
    assert lines(route_view(ROUTE, NOW)) == [
        "refunds    progressing at canary, version 2026-11-22, for 1h 30m",
        "because    the gates passed (by gates)",
        "waits for  min_samples (460 to go)",
        "next       expand-10 at 10 %, to be held for 1h",
        "replicas   3; this one decides",
        "traffic    5 % to agent, 100 % copied to it; 1 % of users held back",
        "users      22 of 472 with the agent, 4.66%; 5.00% asked for",
        "keys       in 98.0% of 1,000 requests; 20 had none",
        "legacy     950 requests, 0.1% failed (human)",
        "agent      50 requests, 4.0% failed, 10.0% slow (agent); 4.0% fell back",
        "agreement  90.0%, surely 71.0%; 36 matched, 4 mismatched, 0 incomparable",
        "kappa      0.78, surely 0.60 to 0.91",
        "misses     4, which cost 13; 0.325 a pair",
        "itself     95.0% of 200 asked twice alike, surely 90.0%",
        "",
        "gate         verdict       value   bound  asked  samples",
        "soak         passed        1h 30m  -      1h     -",
        "    held 1h 30m of 1h",
        "min_samples  inconclusive  40      -      500    40",
        "    40 of 500 samples",
        "",
        "segment  verdict       agree  surely  matched  mismatched",
        "late     inconclusive  96.8%  81.0%   30       1",
        "",
        "legacy \\ agent  approve  deny  agree  surely  cost",
        "approve         26       1     96.3%  74.0%   10",
        "deny            3        10    76.9%  31.0%   3",
        "",
        "differs  pairs  itself  field",
        "50.0%    20     45.0%   $.reason  noise",
        "10.0%    4      1.0%    $.decision",
        "",
        "guard       verdict       value  nearness  allowed  samples",
        "error_rate  inconclusive  4.0%   20.0%     0.3%     50",
        "    all is well",
    ]


def test_what_is_not_known_is_left_out() -> None:
    nothing: dict[str, Any] = {
        "reason": "",
        "actor": "",
        "waits_for": "",
        "next": None,
        "holdback": 0.0,
        "sample_ratio": {"legacy": 0, "agent": 0, "ratio": None, "expected": 0.0},
        "key_coverage": {"requests": 0, "no_key": 0, "ratio": None},
        "kappa": {"value": None, "lower_bound": -1.0, "upper_bound": 1.0},
        "fallback_rate": None,
        "escalation_rate": None,
        "gates": [],
        "guard": [],
        "segments": [],
        "confusion": [],
        "classes": [],
        "misses": {"pairs": 4, "cost": 4.0, "cost_per_pair": 0.1},
        "consistency": {"repeats": 0, "alike": 0, "ratio": None, "lower_bound": None},
        "fields": [],
    }
    names = [line[0] for line in shown(route_view({**ROUTE, **nothing}, NOW)) if line]
    assert names == ["refunds", "replicas", "traffic", "legacy", "agent", "agreement"]


def test_an_operator_who_gave_no_reason() -> None:
    assert row("because", reason="", actor="ann") == "ann gave no reason"


@pytest.mark.parametrize(
    ("leads", "alive", "said"),
    [
        (True, 1, "this one alone"),
        (True, 3, "3; this one decides"),
        (False, 3, "3; another one decides"),
        (None, 3, "the store is away, so nobody moves a stage; rollbacks still happen"),
    ],
)
def test_who_decides(leads: bool | None, alive: int, said: str) -> None:
    assert row("replicas", replica={"leads": leads, "alive": alive}) == said


def test_the_last_stage_is_not_held() -> None:
    assert row("next", next={"stage": "full", "weight": 99.0, "soak": 0.0}) == "full at 99 %"


def test_in_brief_only_what_is_not_yet_passed_has_its_sentence() -> None:
    said = lines(route_view(ROUTE, NOW, brief=True))
    assert "    40 of 500 samples" in said
    assert not any("held 1h 30m of 1h" in line for line in said)
    assert said[-1].startswith("error_rate  inconclusive")
    failed = {**ROUTE, "guard": [check("latency", "failed", "far too slow")]}
    assert lines(route_view(failed, NOW, brief=True))[-1] == "    far too slow"


@pytest.mark.parametrize(("kind", "mark"), [("gates", "dry run: "), ("guard", "report only: ")])
def test_what_only_reports_is_marked(kind: str, mark: str) -> None:
    reporting = check("latency", "failed", "too slow") | {"dry_run": True}
    said = lines(
        route_view(
            {**ROUTE, "gates": [], "guard": [], "segments": [], "confusion": [], "fields": [], kind: [reporting]}, NOW
        )
    )
    assert said[-1] == f"    {mark}too slow"


def test_numbers_are_written_as_what_they_are() -> None:
    gates = [
        check("soak", "passed", "", value=90_000.0, threshold=86_400.0),
        check("min_samples", "passed", "", value=12_345.0, threshold=500.0, samples=12_345),
        check("kappa", "passed", "", value=0.781, bound=0.702, threshold=0.6, samples=1_200),
        check("agreement", "passed", "", value=0.987, bound=0.9721, threshold=0.95, samples=1_200),
    ]
    shown_gates = [line for line in shown(route_view({**ROUTE, "gates": gates}, NOW)) if line[1:2] == ["passed"]]
    assert shown_gates == [
        ["soak", "passed", "1d 1h", "-", "1d", "-"],
        ["min_samples", "passed", "12,345", "-", "500", "12,345"],
        ["kappa", "passed", "0.78", "0.70", "0.60", "1,200"],
        ["agreement", "passed", "98.7%", "97.2%", "95.0%", "1,200"],
    ]


def test_long_sentences_and_names_stay_within_the_width() -> None:
    long = "so many words " * 20
    route = {
        **ROUTE,
        "waits_for": long,
        "reason": long,
        "gates": [
            check("escalation_rate", "inconclusive", long, value=0.12345, bound=0.2, threshold=0.1, samples=10**9)
        ],
        "segments": [{**ROUTE["segments"][0], "name": "s" * 90}],
        "guard": [check("error_rate", "inconclusive", long, samples=10**9) | {"dry_run": True}],
    }
    said = lines(route_view(route, NOW))
    assert max(map(len, said)) <= 80
    assert any(line.startswith("escalation_rate  inconclusive  12.3%  20.0%  10.0%  1,000,000,000") for line in said)
    assert any("96.8%" in line and "81.0%" in line for line in said)
    assert sum(line.count("s" * 20) for line in said) >= 3


def test_text_from_outside_is_no_markup() -> None:
    assert row("because", reason="[red]look[/red] [link=x]") == "[red]look[/red] [link=x] (by gates)"
