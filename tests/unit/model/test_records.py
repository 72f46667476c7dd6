"""A record crosses the link as nested lists and is unpacked to what was packed."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.records import Outcome, Record, unpack

PAIRS = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=3).map(tuple)
BODIES = st.none() | st.binary(max_size=20)
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
    at=st.floats(0, 2e9),
    epoch=st.integers(0, 9),
    bucket=st.integers(0, 99_999),
    headers=PAIRS,
    body=BODIES,
    truncated=st.booleans(),
    legacy=st.none() | OUTCOMES,
    agent=st.none() | OUTCOMES,
    escalation=st.none() | st.tuples(st.text(max_size=5), st.text(max_size=5)),
)

FIELDS: list[Any] = [
    "r1", "t1", "refunds", "1", "canary", 1, 1_800_000_000.5, "POST", "/refunds", "ab12", 42, "agent", "canary",
    "bucket_in", "sampled_out",
]  # fmt: skip


def across(record: Record) -> Any:
    """What msgpack makes of it on the other side."""
    return msgpack.unpackb(msgpack.packb(record))


@given(RECORDS)
def test_what_was_packed_is_unpacked_as_the_same(record: Record) -> None:
    assert unpack(across(record)) == record


def test_unpacked_outcomes_are_outcomes_and_lists_are_tuples() -> None:
    outcome = Outcome(200, 0.5, headers=(("content-type", "application/json"),), body=b"{}")
    record = unpack(across(Record(*FIELDS)._replace(legacy=outcome, escalation=("e1", "low_confidence"))))
    assert record.legacy is not None
    assert record.legacy.headers == (("content-type", "application/json"),)
    assert record.agent is None
    assert record.escalation == ("e1", "low_confidence")
    assert hash(record) == hash(unpack(across(record)))


def test_what_is_left_out_at_the_end_has_its_default() -> None:
    record = unpack(FIELDS)
    assert (record.headers, record.body, record.truncated, record.legacy, record.agent, record.escalation) == (
        (), None, False, None, None, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        [],
        FIELDS[:-1],
        [*FIELDS, [], None, False, None, None, None, "one too many"],
        [*FIELDS, 5],
        [*FIELDS, [["name"]]],
        [*FIELDS, [], None, False, [200]],
        [*FIELDS, [], None, False, 200],
    ],
    ids=["nothing", "too few", "too many", "headers no list", "a name alone", "half an outcome", "outcome no list"],
)
def test_a_wrong_shape_is_refused(fields: list[Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        unpack(fields)
