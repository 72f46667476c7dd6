"""Moves and evidence in a terminal of 80 columns."""

from typing import Any

from proxy.admin.documents import event_document, stage_document
from proxy.cli.history import evidence_view, history_view
from proxy.model.rollouts import Evidence
from tests.integration.admin_world import EVENT, SEEN
from tests.unit.cli.screen import lines, shown


def event(**changes: Any) -> dict[str, Any]:
    return event_document(EVENT) | changes


def test_a_move_tells_who_when_from_where_to_where_why_and_on_what_gates() -> None:
    assert lines(history_view([event()])) == [
        "2026-11-18 11:06:40 UTC  advance by controller",
        "  progressing shadow 0 % → progressing canary 5 %, version 2026-11-22",
        "  the gates passed",
        "    gate       verdict  reason",
        "    agreement  passed   surely 95.5 %",
        "",
    ]


def test_a_first_move_comes_from_nowhere() -> None:
    before = {"phase": "staging", "stage": "", "weight": 0.0}
    assert lines(history_view([event(before=before, gates=[], reason="", actor="")])) == [
        "2026-11-18 11:06:40 UTC  advance by -",
        "  staging → progressing canary 5 %, version 2026-11-22",
        "",
    ]


def test_a_gate_that_only_reported_is_marked() -> None:
    gate = event()["gates"][0] | {"dry_run": True, "verdict": "failed"}
    assert shown(history_view([event(gates=[gate])]))[4] == ["agreement (dry run)", "failed", "surely 95.5 %"]


def test_a_long_reason_stays_within_the_width() -> None:
    gate = event()["gates"][0] | {"name": "escalation_rate", "verdict": "inconclusive", "reason": "so many words " * 20}
    said = lines(history_view([event(reason="because " * 40, actor="[b]a" * 12, gates=[gate])]))
    assert max(map(len, said)) <= 80
    assert "[b]a" in "".join(said[:2])


def test_evidence_by_version_and_start() -> None:
    stages = [
        stage_document("2026-11-22", 2, "canary", SEEN),
        stage_document("2026-10-01", 1, "shadow", Evidence()),
        stage_document("2026-11-22", 2, "shadow", Evidence(matched=20)),
        stage_document("2026-10-01", 1, "", Evidence()),
    ]
    assert shown(evidence_view(stages)) == [
        ["version 2026-11-22, start 2"],
        ["stage", "legacy", "agent", "no key", "pairs", "agree", "surely"],
        ["canary", "950 / 0.1%", "50 / 4.0%", "2.0%", "40", "90.0%", f"{stages[0]['agreement']['lower_bound']:.1%}"],
        ["broken", "9", "66.7%", f"{stages[0]['segments'][0]['lower_bound']:.1%}"],
        ["late", "31", "96.8%", f"{stages[0]['segments'][1]['lower_bound']:.1%}"],
        ["shadow", "0 / -", "0 / -", "-", "20", "100.0%", f"{stages[2]['agreement']['lower_bound']:.1%}"],
        [],
        ["version 2026-10-01, start 1"],
        ["stage", "legacy", "agent", "no key", "pairs", "agree", "surely"],
        ["shadow", "0 / -", "0 / -", "-", "0", "-", "-"],
        ["not begun", "0 / -", "0 / -", "-", "0", "-", "-"],
        [],
    ]
