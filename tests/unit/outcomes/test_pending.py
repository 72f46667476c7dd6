"""When legacy's answer is none yet, by what its pair is found again, and what a decision that passes through says."""

from typing import Any

import orjson
import pytest

from proxy.config.rollout_schema import Rollout
from proxy.model.records import Callback, Outcome, Record
from proxy.model.words import Match
from proxy.outcomes import pairing
from proxy.outcomes.late import ref
from proxy.outcomes.pairing import make_pair
from proxy.outcomes.pending import MAX_CASE, UnreadableError, place_of, read_callback, waiting, whole

ROLLOUT: dict[str, Any] = {
    "agent": "a", "version": "v1", "salt": "s", "compare": {"decision": "$.d"},
    "pending": {"status": [202, 203], "key": "$.case.id", "expires": "2d",
                "callback": {"path_prefix": "/done", "key": "$.c", "decision": "$.d"}},
}  # fmt: skip


def rules(**more: Any) -> pairing.Rules:
    return pairing.rules(Rollout.model_validate(ROLLOUT | more))


def record(body: Any = None, status: int = 202, error: str = "", agent: Any = None) -> Record:
    legacy = Outcome(status, 0.01, error, body=orjson.dumps(body) if body is not None else None)
    other = Outcome(200, 0.01, body=b'{"d": "yes"}')._replace(**(agent or {}))
    return Record(
        "r-1", "0" * 32, "refunds", "v1", "shadow", 1, 1_800_000_000.0, "POST", "/refunds", "abcd", 7, "legacy",
        "legacy", "bucket_out", "mirrored", legacy=legacy, agent=other,
    )  # fmt: skip


REQUEST = ref("s", "request", "r-1")


@pytest.mark.parametrize(("case", "digested"), [("c-1", "c-1"), (4711, "4711"), ("x" * MAX_CASE, "x" * MAX_CASE)])
@pytest.mark.parametrize("status", [202, 203])
def test_an_answer_of_its_status_opens_a_pair_by_its_case_and_its_request(
    case: Any, digested: str, status: int
) -> None:
    pair = make_pair(record({"case": {"id": case}}, status), rules())
    assert (pair.verdict, pair.until) == (Match.PENDING, 1_800_000_000.0 + 2 * 86_400)
    assert pair.refs == (REQUEST, ref("s", "case", digested))
    assert pair.document["pending"] == {"until": "2027-01-17T08:00:00.000Z", "unfit": "", "refs": pair.refs}
    assert (pair.segment, pair.direction, pair.decisions) == (None, None, None)


@pytest.mark.parametrize("body", [None, {}, {"case": {"id": None}}, {"case": {"id": True}}, {"case": {"id": ""}},
                                  {"case": {"id": "x" * (MAX_CASE + 1)}}, {"case": {"id": ["c"]}}, ["c"]])  # fmt: skip
def test_without_a_case_the_request_alone_finds_it(body: Any) -> None:
    pair = make_pair(record(body), rules())
    assert (pair.verdict, pair.refs) == (Match.PENDING, (REQUEST,))
    assert "$.case.id" in pair.document["verdict_reason"]


@pytest.mark.parametrize(("status", "error"), [(200, ""), (500, ""), (202, "timeout"), (0, "connect_failure")])
def test_any_other_answer_is_one(status: int, error: str) -> None:
    pair = make_pair(record({"d": "yes", "case": {"id": "c"}}, status, error), rules())
    assert (pair.verdict is Match.PENDING, pair.refs, "pending" in pair.document) == (False, (), False)


def test_a_rollout_that_waits_for_nothing_opens_nothing() -> None:
    assert make_pair(record({"case": {"id": "c"}}), rules(pending=None)).verdict is Match.INCOMPARABLE


@pytest.mark.parametrize(
    ("agent", "why"),
    [({"status": 503}, "503"), ({"error": "timeout"}, "timeout"), ({"body": b'{"e": 1}'}, "no decision"),
     ({"body": None}, "no body"), ({"body": b"text"}, "not JSON")],
)  # fmt: skip
def test_it_is_noted_that_the_agent_s_answer_can_never_be_compared(agent: dict[str, Any], why: str) -> None:
    pair = make_pair(record({"case": {"id": "c"}}, agent=agent), rules())
    assert pair.verdict is Match.PENDING
    assert why in pair.document["pending"]["unfit"]


def test_the_case_is_kept_nowhere_but_in_the_body() -> None:
    document = make_pair(record({"case": {"id": "c-4711"}}), rules(record={"redact": ["id"]})).document
    assert "4711" not in orjson.dumps(document).decode()


def callback(body: bytes) -> Any:
    found = rules().waiting
    assert found is not None
    return read_callback(Callback("refunds", 1e9, "r-9", body), found)


def test_a_callback_is_a_decision() -> None:
    assert callback(b'{"c": 17, "d": {"to": "deny"}}') == (
        ref("s", "case", "17"), {"to": "deny"}, 1e9, 1e9, "", "callback",
    )  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"no", b'{"c": "c"}', b'{"d": "deny"}', b'{"c": [], "d": 1}'])
def test_one_that_says_nothing_is_refused_without_a_word_of_it(body: bytes) -> None:
    with pytest.raises(UnreadableError) as caught:
        callback(body)
    assert "deny" not in str(caught.value)


def test_paths_that_are_none_are_told_by_their_setting() -> None:
    pending = Rollout.model_validate(ROLLOUT).pending
    assert pending is not None
    with pytest.raises(ValueError, match=r"pending\.key: .*JSONPath"):
        waiting(pending.model_copy(update={"key": "$["}), "s", "$.d")


@pytest.mark.parametrize(
    ("decision", "place"),
    [("$.a.b", ("$.a.b", ("a", "b"))), ("$.a[0]", ("$.a[0]", ())), ("$..d", ("$..d", ())), ("status", ("status", ()))],
)
def test_where_a_decision_is(decision: str, place: tuple[str, tuple[str, ...]]) -> None:
    assert place_of(decision) == place


@pytest.mark.parametrize(
    ("decision", "fits"), [("x" * 4094, True), ("x" * 4095, False), (1 << 70, False), (None, True)]
)
def test_how_large_a_decision_may_be(decision: Any, fits: bool) -> None:
    assert whole(decision) is fits
