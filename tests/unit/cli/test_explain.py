"""Explanations in a terminal of 80 columns."""

from typing import Any

from proxy.admin.documents import explanation_document
from proxy.cli.explain import explanation_view
from proxy.model.snapshot import KeySource
from proxy.routing.explain import explain
from tests.integration.admin_world import SPEC, STAGES
from tests.unit.cli.screen import shown

IN, OUT = b"bob", b"alice"  # buckets 2,871 and 27,935


def document(key: bytes, **more: Any) -> dict[str, Any]:
    told = explain(SPEC, key, STAGES, 0)
    given = {"why": "", "split": False, "holdback": 0.0, "override": False} | more
    return explanation_document("refunds", SPEC, told, **given)


def row(told: dict[str, Any], name: str) -> str:
    return next(line[1] for line in shown(explanation_view(told), width=200) if line[0] == name)


def test_a_user_who_is_in() -> None:
    told = document(IN)
    assert shown(explanation_view(told)) == [
        ["refunds", "agent serves this user's requests now, at canary (5 %)"],
        ["why", "bucket 2,871 is below 5,000 (5 %), so the agent serves (bucket_in)"],
        ["bucket", "2,871 of 100,000"],
        ["in from", "canary (5 %), and at every later stage"],
        ["recorded", f"in pairs, as key_hash {told['key_hash']}"],
        ["key from", "header x-user-id, else query user; a request without any is legacy's"],
        [],
        ["stage", "weight", "arm", "why"],
        ["shadow", "0 %", "legacy", "bucket_out"],
        ["canary (now)", "5 %", "agent", "bucket_in"],
        ["half", "50 %", "agent", "bucket_in"],
    ]


def test_a_user_who_is_not_in_yet() -> None:
    told = document(OUT)
    assert row(told, "refunds") == "legacy serves this user's requests now, at canary (5 %)"
    assert row(told, "in from") == "half (50 %), and at every later stage"
    assert row(told, "copies") == "the agent gets a copy of 100 % of what legacy serves"


def test_a_request_without_a_key() -> None:
    told = document(b"")
    assert row(told, "why") == "a request without a key is legacy's, at every weight (no_key)"
    assert row(told, "in from") == "no stage of the plan"
    assert "bucket" not in [line[0] for line in shown(explanation_view(told)) if line]


def test_a_user_who_is_held_back() -> None:
    told = document(OUT) | {"held_back": True, "holdback": 1.5}
    assert row(told, "in from") == "no stage: held back, with the last 1.5 % of the buckets"


def test_a_fixed_split_has_no_stages() -> None:
    told = document(OUT, split=True) | {"stages": []}
    assert row(told, "in from") == "no stage: a fixed split has none; split.weight in the configuration moves it"
    assert ["stage", "weight", "arm", "why"] not in shown(explanation_view(told))


def test_a_rollout_that_is_rolled_back_says_why() -> None:
    told = document(OUT, why="the breaker of a worker tripped: [red]8 in a row") | {"phase": "degraded"}
    assert row(told, "degraded") == "the breaker of a worker tripped: [red]8 in a row"


def test_a_key_that_a_place_reads_as_another_one() -> None:
    told = document(b"bob%40x")
    assert row(told, "beware").startswith("written so, in query user, KEY is read as another key: it is decoded")


def test_testers_are_above_all_that() -> None:
    assert row(document(IN, override=True), "testers").startswith("a signed override goes to the arm that it names")


def test_every_kind_of_source_has_its_words() -> None:
    kinds = [KeySource("header", "h"), KeySource("cookie", "c"), KeySource("query", "q"), KeySource("client_ip")]
    told = document(IN) | {
        "sources": [{"kind": kind.kind, "name": kind.name or None, "alike": False} for kind in kinds]
    }
    assert row(told, "key from").startswith("header h, else cookie c, else query q, else the client's address; ")
    assert len([line for line in shown(explanation_view(told), width=200) if line[:1] == ["beware"]]) == 4
