"""What is kept of a request: within the bound, by allow-list, never the key."""

from typing import Any

import pytest

from proxy.gateway.counters import Counters
from proxy.gateway.parcels import Parcels
from proxy.gateway.recording import Draft, Notes, allowed, begun
from proxy.gateway.request import Request
from proxy.gateway.table import Table
from proxy.gateway.turn import Turn
from proxy.model.records import Outcome, Record, split, unpack
from proxy.model.snapshot import KeySource, MatchSpec, RecordSpec, RolloutSpec, RouteSpec, Snapshot, UpstreamSpec
from proxy.model.words import Phase

SERVED = ("legacy", "legacy", "no_key")
TEXT = (b"content-type", b"a/b")


@pytest.fixture
async def rollout() -> Any:
    record = RecordSpec(max_body=10, headers=("content-type",))
    spec = RolloutSpec("b", "v1", "shadow", Phase.PROGRESSING, 1, 0, (KeySource("client_ip"),), "s", record=record)
    upstreams = (UpstreamSpec("a", "h", 1), UpstreamSpec("b", "h", 2))
    return (
        Table(Snapshot(1, (RouteSpec("r", MatchSpec(), "a", spec),), upstreams), Counters(), Turn()).routes[0].rollout
    )


def request(*chunks: bytes) -> Request:
    noted = [(b"content-type", b"text/plain"), (b"authorization", b"Bearer s")]
    made = Request(b"POST", b"/refunds?token=secret", b"a", [], noted, -1, b"127.0.0.1", b"")
    made.request_id = b"r-1"
    made.trace = b"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
    for chunk in chunks:
        made.take(chunk)
    return made


def recorded(notes: Notes, made: Request, key_hash: bytes = b"", bucket: int | None = None) -> Record:
    """The record as it comes out on the other side."""
    parcels = Parcels()
    parcels.add("refunds", *notes.fields(made, "refunds", key_hash, bucket, SERVED))
    [parcel] = parcels.drain()
    [fields] = split(b"".join(parcel.records))
    return unpack(fields)


def test_a_draft_keeps_the_beginning_of_a_body() -> None:
    draft = Draft(5)
    for data in (b"abc", b"def", b"ghi"):
        draft.add(data)
    assert (draft.body(), draft.size, draft.truncated) == (b"abcde", 5, True)


def test_a_body_of_just_the_limit_is_whole() -> None:
    draft = Draft(5)
    draft.add(b"abcde")
    assert (draft.body(), draft.truncated) == (b"abcde", False)


async def test_only_allowed_headers_are_kept(rollout: Any) -> None:
    assert allowed(rollout, [(b"set-cookie", b"x"), TEXT, TEXT]) == b"content-type: a/b\r\ncontent-type: a/b\r\n"


async def test_a_record_holds_no_query_no_credentials_and_no_more_than_the_limit(rollout: Any) -> None:
    record = recorded(Notes(rollout, 1.0), request(b"0123456789", b"more"), b"\xab\xcd", 7)
    assert (record.target, record.headers, record.body, record.truncated) == (
        "/refunds", (("content-type", "text/plain"),), b"0123456789", True,
    )  # fmt: skip
    assert (record.bucket, record.key_hash, record.at) == (7, "abcd", 1.0)
    assert (record.request_id, record.trace_id) == ("r-1", "0af7651916cd43dd8448eb211c80319c")
    assert (record.route, record.version, record.stage, record.epoch) == ("refunds", "v1", "shadow", 1)
    assert (record.arm, record.mode, record.reason) == SERVED
    assert (record.legacy, record.agent, record.escalation) == (None, None, None)


async def test_how_many_bytes_of_bodies_a_record_has(rollout: Any) -> None:
    notes = Notes(rollout, 1.0)
    notes.answer([])
    notes.body(b"abc")
    notes.legacy = notes.outcome(200, 0.1, "", 0.0)
    assert notes.fields(request(b"01234567", b"89more"), "refunds", b"", 7, SERVED)[1] == 10 + 3


async def test_of_a_body_that_was_let_go_the_beginning_is_recorded(rollout: Any) -> None:
    made, notes = request(b"0123", b"456789", b"rest"), Notes(rollout, 1.0)
    notes.first = made.let_go(10)
    made.take(b"even more")
    record = recorded(notes, made)
    assert (record.body, record.truncated, record.bucket) == (b"0123456789", True, -1)


async def test_an_answer_that_is_not_given_leaves_no_trace(rollout: Any) -> None:
    notes = Notes(rollout, 1.0)
    notes.answer([TEXT])
    notes.body(b"abc")
    notes.agent = notes.outcome(200, 0.2, "5xx", 0.1)
    notes.forget()
    notes.legacy = notes.outcome(200, 0.1, "timeout", 0.1)
    record = recorded(notes, request())
    assert record.agent == Outcome(200, 0.2, "5xx", (("content-type", "a/b"),), b"abc", False, 0.1)
    assert record.legacy == Outcome(0, 0.1, "timeout")


async def test_a_fallback_is_recorded_with_its_id_and_reason(rollout: Any) -> None:
    notes = Notes(rollout, 1.0)
    notes.escalation, notes.why = b"e-1", "needs a human"
    notes.agent = begun(rollout, [TEXT]).finish(200, 0.1, "escalation", 0.0)
    record = recorded(notes, request())
    assert record.escalation == ("e-1", "needs a human")
    assert record.agent == Outcome(200, 0.1, "escalation", (("content-type", "a/b"),))
