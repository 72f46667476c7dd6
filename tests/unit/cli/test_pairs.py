"""Pairs in a terminal of 80 columns."""

from typing import Any

import pytest

from proxy.cli.pairs import pairs_table
from tests.integration.admin_world import PAIR
from tests.unit.cli.screen import shown


def test_a_pair_in_one_line() -> None:
    pair = {**PAIR, "id": "refunds.1795510493007-0"}
    assert shown(pairs_table([pair]), width=100) == [
        ["pair", "at", "verdict", "mode", "legacy", "agent", "differs"],
        ["refunds.1795510493007-0", "08:00:01", "mismatched", "legacy", "approve", "deny", "$.decision"],
    ]


def test_in_80_columns_only_what_differs_wraps() -> None:
    pair = {**PAIR, "id": "refunds.1795510493007-0", "mode": "fallback"}
    assert shown(pairs_table([pair]))[1][:-1] == [
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
    assert shown(pairs_table([{**PAIR, "agent": outcome}]))[1][5] == text


def test_a_request_that_one_arm_alone_saw_has_no_verdict() -> None:
    pair = {**PAIR, "verdict": None, "arm": "agent", "mode": "canary", "legacy": None, "differences": []}
    assert shown(pairs_table([pair]))[1][2:] == ["-", "canary", "-", "deny"]
