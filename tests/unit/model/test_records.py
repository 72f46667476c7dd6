"""A record is unpacked to what was packed, whatever it is; what is no record is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.records import Outcome, Record, split, unpack
from tests.packing import fields, pack


def _one_line(text: str) -> bool:
    return "\r\n" not in text


LATIN = st.text(st.characters(max_codepoint=255), max_size=5)
PAIRS = st.lists(st.tuples(st.from_regex("[a-z-]{1,5}", fullmatch=True), LATIN.filter(_one_line)), max_size=3).map(
    tuple
)
BODIES = st.none() | st.binary(min_size=1, max_size=20)
OUTCOMES = st.builds(
    Outcome,
    status=st.integers(0, 599),
    duration=st.floats(0, 100),
    first_byte=st.floats(0, 100),
    error=st.sampled_from(["", "timeout", "5xx"]),
    headers=PAIRS,
    body=BODIES,
    truncated=st.booleans(),
)
RECORDS = st.builds(
    Record,
    request_id=LATIN,
    trace_id=st.from_regex("[0-9a-f]{32}", fullmatch=True),
    method=LATIN,
    target=LATIN,
    key_hash=st.binary(max_size=16).map(bytes.hex),
    at=st.floats(0, 2e9),
    epoch=st.integers(0, 9),
    bucket=st.integers(0, 99_999),
    headers=PAIRS,
    body=BODIES,
    truncated=st.booleans(),
    legacy=st.none() | OUTCOMES,
    agent=st.none() | OUTCOMES,
    repeat=st.none() | OUTCOMES,
    escalation=st.none() | st.tuples(LATIN.filter(bool), st.text(max_size=5)),
)

WORDS: tuple[Any, ...] = (
    "canary",
    1,
    1_800_000_000.5,
    "POST",
    "/refunds",
    "ab12",
    42,
    "agent",
    "canary",
    "bucket_in",
    "mirrored",
)
PLAIN = Record("r1", "0" * 32, "refunds", "1", *WORDS)


@given(st.lists(RECORDS, max_size=4))
def test_what_was_packed_is_unpacked_as_the_same(records: list[Record]) -> None:
    assert [unpack(fields) for fields in split(pack(*records))] == records


def test_bytes_of_http_come_out_as_latin_1() -> None:
    record = PLAIN._replace(target="/caf\xe9", headers=(("x-name", "caf\xe9: 1"),))
    assert unpack(fields(record)) == record


def test_the_parts_of_a_record_are_of_their_types() -> None:
    outcome = Outcome(200, 0.5, headers=(("content-type", "application/json"),), body=b"{}")
    record = unpack(fields(PLAIN._replace(legacy=outcome, escalation=("e1", "low_confidence"))))
    assert isinstance(record.legacy, Outcome)
    assert (record.agent, record.body, record.escalation) == (None, None, ("e1", "low_confidence"))
    assert hash(record) == hash(record._replace())


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        {},
        (),
        fields(PLAIN)[:-1],
        (*fields(PLAIN), "one too many"),
        list(fields(PLAIN)),
        ("text", *fields(PLAIN)[1:]),
        (*fields(PLAIN)[:9], "hash", *fields(PLAIN)[10:]),
        (*fields(PLAIN)[:15], [["name", "value"]], *fields(PLAIN)[16:]),
    ],
    ids=[
        "none",
        "a map",
        "nothing",
        "too few",
        "too many",
        "a list",
        "text",
        "a hash that is text",
        "headers as lists",
    ],
)
def test_a_wrong_shape_is_refused(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        unpack(wrong)


@pytest.mark.parametrize("data", [pack(PLAIN)[:-1], pack(PLAIN) + b"\xc1", b"\xc1"], ids=["cut", "after", "none"])
def test_what_is_no_sequence_of_records_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="the records"):
        list(split(data))
