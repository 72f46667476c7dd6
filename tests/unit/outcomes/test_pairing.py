"""From a worker's record to the stored pair."""

from typing import Any

import orjson
import pytest

from proxy.config.rollout_schema import Rollout
from proxy.model.records import Outcome, Record
from proxy.model.words import Match
from proxy.outcomes.pairing import Pair, make_pair, rules
from proxy.outcomes.redact import MASK


def rollout(**sections: Any) -> Rollout:
    return Rollout.model_validate({"agent": "agent", "version": "v1", "salt": "s", **sections})


COMPARE = {"decision": "$.decision", "fields": {"ignore": ["$.id"], "tolerance": {"$.amount": "1%"}}}
RULES = rules(rollout(compare=COMPARE))
JSON = (("content-type", "application/json"),)


def answer(document: Any, status: int = 200, **fields: Any) -> Outcome:
    return Outcome(status, 0.25, headers=JSON, body=orjson.dumps(document))._replace(**fields)


def record(legacy: Outcome | None, agent: Outcome | None, **fields: Any) -> Record:
    return Record(
        request_id="r-1", trace_id="t-1", route="refunds", version="v1", stage="shadow", epoch=3, at=1_800_000_000.1239,
        method="POST", target="/refunds/7", key_hash="ab12", bucket=42, arm="legacy", mode="legacy",
        reason="bucket_out", fate="mirrored", headers=JSON, body=b'{"amount": 5, "password": "hunter2"}',
        legacy=legacy, agent=agent,
    )._replace(**fields)  # fmt: skip


def pair(legacy: Outcome | None, agent: Outcome | None, **fields: Any) -> Pair:
    made = make_pair(record(legacy, agent, **fields), RULES)
    assert orjson.loads(orjson.dumps(made.document)) == made.document  # it is JSON as it stands
    return made


def test_the_whole_document() -> None:
    made = pair(
        answer({"decision": "approve", "id": 1}), answer({"decision": "deny", "id": 2}, status=201, first_byte=0.125)
    )
    assert made.verdict is Match.MISMATCHED
    assert made.document == {
        "request_id": "r-1",
        "trace_id": "t-1",
        "route": "refunds",
        "version": "v1",
        "stage": "shadow",
        "epoch": 3,
        "at": "2027-01-15T08:00:00.123Z",
        "key_hash": "ab12",
        "bucket": 42,
        "arm": "legacy",
        "mode": "legacy",
        "reason": "bucket_out",
        "shadow_fate": "mirrored",
        "segment": None,
        "verdict": "mismatched",
        "verdict_reason": "",
        "differences": [{"path": "$.decision", "legacy": "approve", "agent": "deny"}],
        "more_differences": 0,
        "request": {
            "method": "POST",
            "target": "/refunds/7",
            "headers": {"content-type": "application/json"},
            "body": {"amount": 5, "password": MASK},
            "truncated": False,
        },
        "legacy": {
            "status": 200,
            "decision": "approve",
            "duration": 0.25,
            "first_byte": None,
            "error": None,
            "headers": {"content-type": "application/json"},
            "body": {"decision": "approve", "id": 1},
            "truncated": False,
        },
        "agent": {
            "status": 201,
            "decision": "deny",
            "duration": 0.25,
            "first_byte": 0.125,
            "error": None,
            "headers": {"content-type": "application/json"},
            "body": {"decision": "deny", "id": 2},
            "truncated": False,
        },
        "repeat": None,
        "escalation": None,
        "steps": [],
    }


def test_arms_that_agree_match() -> None:
    made = pair(answer({"decision": "approve", "amount": 100}), answer({"decision": "approve", "amount": 100.5}))
    assert (made.verdict, made.document["verdict"], made.document["differences"]) == (Match.MATCHED, "matched", [])


def test_the_same_bytes_match_but_only_with_a_decision() -> None:
    same = answer({"decision": "approve"})
    assert pair(same, same).verdict is Match.MATCHED
    without = answer({"other": 1})
    assert pair(without, without).verdict is Match.INCOMPARABLE


def test_the_same_bytes_are_kept_for_both_arms_and_neither_changes_the_other() -> None:
    said = answer({"decision": "approve", "password": "hunter2"})
    made = pair(said, said._replace(status=201))
    kept = {"decision": "approve", "password": "[redacted]"}
    assert [made.document[arm]["body"] for arm in ("legacy", "agent")] == [kept, kept]
    assert [made.document[arm]["status"] for arm in ("legacy", "agent")] == [200, 201]


def test_the_same_bytes_where_one_is_a_beginning_are_not_the_same_body() -> None:
    said = answer({"decision": "approve"})
    made = pair(said, said._replace(truncated=True))
    assert (made.verdict, made.document["agent"]["truncated"]) == (Match.INCOMPARABLE, True)
    assert isinstance(made.document["agent"]["body"], str)


@pytest.mark.parametrize("asked", ["legacy", "agent"])
def test_where_one_arm_was_asked_there_is_no_verdict(asked: str) -> None:
    only = answer({"decision": "approve"})
    made = pair(only, None) if asked == "legacy" else pair(None, only)
    assert (made.verdict, made.document["verdict"]) == (None, None)
    assert made.document["verdict_reason"] == "only one arm was asked"
    assert made.document[asked]["decision"] == "approve"
    assert made.document["agent" if asked == "legacy" else "legacy"] is None


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        (Outcome(0, 1.0, "timeout"), "agent did not complete: timeout"),
        (Outcome(503, 1.0, "5xx", body=b"{}"), "agent did not complete: 5xx"),
        (Outcome(0, 1.0), "agent failed with status 0"),
        (Outcome(500, 1.0, body=b'{"decision": "approve"}'), "agent failed with status 500"),
        (Outcome(200, 1.0, "escalation"), "agent handed over to the human"),
        (Outcome(200, 1.0), "agent's answer has no body, or none was kept"),
        (Outcome(200, 1.0, body=b""), "agent's answer has no body, or none was kept"),
        (Outcome(200, 1.0, body=b"<html>"), "agent's answer is not JSON"),
        (Outcome(200, 1.0, body=b"\xff\xfe"), "agent's answer is not JSON"),
        (Outcome(200, 1.0, body=b'{"decision": "app', truncated=True), "agent's answer is longer than record.max_body"),
        (Outcome(200, 1.0, body=b'{"other": 1}'), "agent's answer has nothing at $.decision"),
    ],
)
def test_what_cannot_be_compared_says_why(agent: Outcome, reason: str) -> None:
    made = pair(answer({"decision": "approve"}), agent)
    assert (made.verdict, made.document["verdict_reason"]) == (Match.INCOMPARABLE, reason)
    assert made.document["differences"] == []


def test_legacys_failure_is_no_fault_of_the_agent() -> None:
    made = pair(Outcome(0, 1.0, "connect_failure"), answer({"decision": "approve"}))
    assert (made.verdict, made.document["verdict_reason"]) == (
        Match.INCOMPARABLE, "legacy did not complete: connect_failure",
    )  # fmt: skip


def test_a_refusal_in_4xx_is_an_answer_like_others() -> None:
    assert pair(answer({"decision": "deny"}, status=422), answer({"decision": "deny"})).verdict is Match.MATCHED


def test_without_a_decision_setting_the_bodies_decide() -> None:
    whole = rules(rollout())
    same = make_pair(record(answer({"a": 1}), answer({"a": 1.0})), whole)
    other = make_pair(record(answer({"a": 1}), answer({"a": 2})), whole)
    assert (same.verdict, other.verdict) == (Match.MATCHED, Match.MISMATCHED)
    assert same.document["legacy"]["decision"] is None


def test_an_escalation_is_told_and_masked() -> None:
    made = pair(
        answer({"decision": "x"}), Outcome(200, 1.0, "escalation"), escalation=("e-1", "needs password=hunter2")
    )
    assert made.document["escalation"] == {"id": "e-1", "reason": f"needs password={MASK}"}


def test_a_difference_says_which_arm_has_nothing() -> None:
    made = pair(answer({"decision": 1, "a": None, "b": 1}), answer({"decision": 1, "a": 1, "c": 2}))
    assert made.document["differences"] == [
        {"path": "$.a", "legacy": None, "agent": 1},
        {"path": "$.b", "legacy": 1, "agent": None, "missing": "agent"},
        {"path": "$.c", "legacy": None, "missing": "legacy", "agent": 2},
    ]


def test_no_secret_is_in_the_document_wherever_it_was() -> None:
    secret = {"decision": 1, "token": "S3CRET-a", "deep": {"api_key": ["S3CRET-b"]}, "m": {"password": "S3CRET-c"}}
    other = {"decision": 1, "token": "S3CRET-d", "deep": {"api_key": ["S3CRET-e", 1]}, "n": {"password": "S3CRET-f"}}
    headers = (("authorization", "Bearer S3CRET-g"), ("cookie", "S3CRET-h"))
    made = pair(
        answer(secret, headers=headers),
        answer(other, headers=headers),
        headers=headers,
        body=b"password=S3CRET-i&n=1",
        target="/reset/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJTM0NSRVQifQ.S3CRET-j",
    )
    assert "S3CRET" not in orjson.dumps(made.document).decode()
    assert {"path": "$.token", "legacy": MASK, "agent": MASK} in made.document["differences"]


def test_a_hidden_decision_is_compared_and_stays_hidden() -> None:
    by_token = rules(rollout(compare={"decision": "$.token"}))
    made = make_pair(record(answer({"token": "S3CRET-a"}), answer({"token": "S3CRET-b"})), by_token)
    assert made.verdict is Match.MISMATCHED
    assert made.document["legacy"]["decision"] == MASK
    assert "S3CRET" not in orjson.dumps(made.document).decode()


GATED = rules(rollout(compare=COMPARE, gates={"segments": {"by": "$.type"}, "direction": {"yes": ["approve"]}}))


def gated(legacy: Outcome | None, agent: Outcome | None, body: bytes | None = b'{"type": "card"}', **more: Any) -> Pair:
    return make_pair(record(legacy, agent, body=body, **more), GATED)


def test_a_pair_says_what_it_is_counted_under() -> None:
    made = gated(answer({"decision": "deny"}), answer({"decision": "approve"}))
    assert made.document["segment"] == "card"
    assert (made.segment, made.direction, made.decisions) == ("card", "agent_yes", ("deny", "approve"))
    made = gated(answer({"decision": "approve"}), answer({"decision": "approve"}))
    assert (made.segment, made.direction, made.decisions) == ("card", None, ("approve", "approve"))


def test_without_gates_that_ask_only_the_decisions_are_told() -> None:
    made = pair(answer({"decision": "deny"}), answer({"decision": "approve"}))
    assert (made.segment, made.direction, made.decisions) == (None, None, ("deny", "approve"))
    assert make_pair(record(answer({"a": 1}), answer({"a": 2})), rules(rollout())).decisions is None


@pytest.mark.parametrize(
    "agent", [None, Outcome(500, 1.0, body=b'{"decision": "approve"}'), Outcome(200, 1.0, body=b'{"other": 1}')]
)
def test_only_comparable_pairs_are_counted_but_all_show_their_segment(agent: Outcome | None) -> None:
    made = gated(answer({"decision": "deny"}), agent)
    assert (made.segment, made.direction, made.decisions) == (None, None, None)
    assert made.document["segment"] == "card"


@pytest.mark.parametrize(
    ("body", "truncated"),
    [
        (None, False),
        (b"", False),
        (b"type=card", False),
        (b'{"kind": "card"}', False),
        (b'{"type": null}', False),
        (b'{"type": ["card"]}', False),
        (b'{"type": "card"}', True),
        (b'"card"', False),
    ],
)
def test_a_request_of_no_kind_has_a_segment_of_its_own(body: bytes | None, truncated: bool) -> None:
    made = gated(answer({"decision": "deny"}), answer({"decision": "deny"}), body, truncated=truncated)
    assert made.segment == made.document["segment"] == "(none)"


def test_what_is_hidden_is_no_label() -> None:
    secretive = rules(
        rollout(
            compare={"decision": "$.token"},
            gates={"segments": {"by": "$.password"}, "direction": {"yes": ["S3CRET-a"]}},
        )
    )
    request = b'{"password": "S3CRET-c"}'
    made = make_pair(record(answer({"token": "S3CRET-a"}), answer({"token": "S3CRET-b"}), body=request), secretive)
    assert (made.segment, made.direction, made.decisions) == (MASK, None, None)
    nested = rules(rollout(compare={"decision": "$.token.value"}))
    said = [answer({"token": {"value": f"S3CRET-{arm}"}}) for arm in "ab"]
    assert make_pair(record(*said), nested).decisions is None
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJTM0NSRVQifQ.S3CRET"
    made = gated(answer({"decision": jwt}), answer({"decision": "deny"}), orjson.dumps({"type": f"x {jwt}"}))
    assert (made.segment, made.decisions) == (f"x {MASK}", None)


def test_a_label_is_found_by_a_search_too() -> None:
    searching = rules(rollout(compare={"decision": "$..d"}, gates={"segments": {"by": "$..type"}}))
    request = b'{"deep": {"type": "card"}}'
    made = make_pair(record(answer({"x": {"d": 1}}), answer({"x": {"d": 2}}), body=request), searching)
    assert (made.segment, made.decisions) == ("card", ("1", "2"))


@pytest.mark.parametrize(
    ("sections", "setting"),
    [
        ({"compare": {"decision": "$.["}}, "compare.decision"),
        ({"compare": {"fields": {"ignore": ["$.id", "$.["]}}}, "compare.fields.ignore"),
        ({"compare": {"fields": {"tolerance": {"$.[": "1%"}}}}, "compare.fields.tolerance"),
        ({"escalate": {"confidence": {"path": "$.[", "below": 0.5}}}, "escalate.confidence.path"),
        ({"gates": {"segments": {"by": "$.["}}}, "gates.segments.by"),
    ],
)
def test_a_bad_path_is_refused_with_the_name_of_its_setting(sections: dict[str, Any], setting: str) -> None:
    try:
        section = rollout(**sections)
    except ValueError:
        return  # the schema refuses it already
    with pytest.raises(ValueError, match=rf"^{setting}: '\$\.\[' is no JSONPath"):
        rules(section)


def test_what_the_arms_send_to_hurt_raises_nothing() -> None:
    deep = b"[" * 1000 + b"]" * 1000
    for body in (deep, b'{"decision":' * 500, b"\x00", b"\xf0\x9f", b'{"decision": 1e308}', b'{"decision": "\\u0000"}'):
        made = pair(answer({"decision": 1}), Outcome(200, 1.0, body=body), body=body)
        assert made.verdict in (Match.INCOMPARABLE, Match.MISMATCHED)


BY_HEADER = rules(rollout(compare={"decision": {"header": "X-Decision"}, "labels": {"approve": ["ok"]}}))


def said(decision: str, body: bytes | None = None, **fields: Any) -> Outcome:
    return Outcome(200, 0.1, headers=(("x-decision", decision),), body=body)._replace(**fields)


def test_a_decision_in_a_header_needs_no_json() -> None:
    made = make_pair(record(said("ok", b"<html>"), said("deny")), BY_HEADER)
    assert (made.verdict, made.decisions) == (Match.MISMATCHED, ("approve", "deny"))
    assert [made.document[arm]["decision"] for arm in ("legacy", "agent")] == ["approve", "deny"]
    assert made.document["differences"] == []
    made = make_pair(record(said("ok"), said("approve")), BY_HEADER)
    assert (made.verdict, made.decisions) == (Match.MATCHED, ("approve", "approve"))


def test_the_same_body_under_another_header_is_another_decision() -> None:
    made = make_pair(record(said("ok", b"{}"), said("deny", b"{}")), BY_HEADER)
    assert (made.verdict, made.document["agent"]["decision"]) == (Match.MISMATCHED, "deny")


def test_a_body_that_was_cut_off_is_not_compared_and_keeps_no_decision_in_a_header_from_being() -> None:
    made = make_pair(record(said("ok", b'{"a": 1}'), said("ok", b'{"a', truncated=True)), BY_HEADER)
    assert (made.verdict, made.document["differences"]) == (Match.MATCHED, [])


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        (said("ok", status=503), "agent failed with status 503"),
        (said("ok", error="timeout"), "agent did not complete: timeout"),
        (Outcome(200, 0.1), "agent's answer has no header X-Decision"),
    ],
)
def test_an_arm_that_failed_decides_nothing_in_a_header_either(agent: Outcome, reason: str) -> None:
    made = make_pair(record(said("ok"), agent), BY_HEADER)
    assert (made.verdict, made.document["verdict_reason"]) == (Match.INCOMPARABLE, reason)


def test_a_hidden_header_is_compared_and_is_no_label() -> None:
    hidden = rules(rollout(compare={"decision": {"header": "x-token"}, "labels": {"approve": ["S3CRET"]}}))
    outcomes = [Outcome(200, 0.1, headers=(("x-token", value),)) for value in ("S3CRET", "other")]
    made = make_pair(record(*outcomes), hidden)
    assert (made.verdict, made.decisions) == (Match.MISMATCHED, None)
    assert [made.document[arm]["decision"] for arm in ("legacy", "agent")] == [MASK, MASK]
    assert "S3CRET" not in orjson.dumps(made.document).decode()


def test_the_status_may_decide() -> None:
    by_status = rules(rollout(compare={"decision": {"status": {"approve": [200, 201], "deny": [403]}}}))
    made = make_pair(record(Outcome(201, 0.1), Outcome(403, 0.1)), by_status)
    assert (made.verdict, made.decisions) == (Match.MISMATCHED, ("approve", "deny"))
    made = make_pair(record(Outcome(404, 0.1), Outcome(403, 0.1)), by_status)
    assert made.document["verdict_reason"] == "legacy's answer has a status that decides nothing"
    plain = make_pair(record(Outcome(200, 0.1), Outcome(200, 0.1)), rules(rollout(compare={"decision": "status"})))
    assert (plain.verdict, plain.decisions) == (Match.MATCHED, ("200", "200"))


def test_a_label_is_what_is_counted_and_shown_and_the_body_stays_as_it_was() -> None:
    named = rules(
        rollout(
            compare={"decision": "$.decision", "labels": {"approve": ["approved", True]}},
            gates={"direction": {"yes": ["approved"]}},
        )
    )
    made = make_pair(record(answer({"decision": True}), answer({"decision": "deny"})), named)
    assert (made.decisions, made.direction) == (("approve", "deny"), "agent_no")
    assert made.document["legacy"]["decision"] == "approve"
    assert made.document["legacy"]["body"] == {"decision": True}
    assert make_pair(record(answer({"decision": True}), answer({"decision": "approved"})), named).decisions == (
        "approve", "approve",
    )  # fmt: skip


def test_what_misses_cost_is_found_by_the_decisions_as_they_are_counted() -> None:
    compare = {
        "decision": "$.d",
        "labels": {"Approve": ["ok"]},
        "fields": {"normalize": {"$.d": ["case"]}},
        "cost": {"OK->Deny": 10, "deny -> approve": 2},
    }
    assert rules(rollout(compare=compare)).costs == {("Approve", "deny"): 10.0, ("deny", "Approve"): 2.0}


def test_what_the_agent_says_otherwise_the_second_time_is_noise() -> None:
    again = answer({"decision": "deny", "text": "c", "password": "S3CRET"})
    made = pair(answer({"decision": "approve", "text": "a"}), answer({"decision": "deny", "text": "b"}), repeat=again)
    assert (made.verdict, made.repeat) == (Match.MISMATCHED, Match.MATCHED)
    assert made.document["differences"] == [
        {"path": "$.decision", "legacy": "approve", "agent": "deny"},
        {"path": "$.text", "legacy": "a", "agent": "b", "noise": True},
    ]
    assert set(made.fields) == {("$.decision", 1, 0), ("$.text", 1, 1), ("$.password", 0, 1)}
    repeat = made.document["repeat"]
    assert (repeat["status"], repeat["decision"], repeat["verdict"]) == (200, "deny", "matched")
    assert repeat["body"] == {"decision": "deny", "text": "c", "password": MASK}


def test_an_agent_that_decides_otherwise_the_second_time_is_not_like_itself() -> None:
    said = answer({"decision": "approve"})
    made = pair(said, said, repeat=answer({"decision": "deny"}))
    assert (made.verdict, made.repeat, made.fields) == (Match.MATCHED, Match.MISMATCHED, (("$.decision", 0, 1),))
    made = pair(said, said, repeat=Outcome(0, 1.0, "timeout"))
    assert (made.verdict, made.repeat, made.fields) == (Match.MATCHED, Match.INCOMPARABLE, ())
    assert made.document["repeat"]["error"] == "timeout"


def test_without_a_repeat_nothing_is_called_noise() -> None:
    made = pair(answer({"decision": 1, "a": [1, 2]}), answer({"decision": 1, "a": [2, 3]}))
    assert (made.repeat, made.document["repeat"], made.fields) == (None, None, (("$.a[*]", 1, 0),))
    assert all("noise" not in difference for difference in made.document["differences"])


def test_what_waits_for_the_human_is_already_held_against_its_repeat() -> None:
    waiting = rules(rollout(compare=COMPARE, pending={}))
    said = answer({"decision": "approve"})
    made = make_pair(record(answer({"case_id": "c"}, status=202), said, repeat=said), waiting)
    assert (made.verdict, made.repeat) == (Match.PENDING, Match.MATCHED)
