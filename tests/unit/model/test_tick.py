"""A tick crosses the link as lists, since msgpack has no tuples as keys, and is the same on the other side."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import measures
from proxy.model.snapshot import BUCKETS
from proxy.model.tick import FORMAT, Tick, from_wire, pack_buckets, to_wire, unpack_buckets

LABELS = st.lists(st.text(max_size=6), max_size=4).map(tuple)
NAMES = st.sampled_from([family.name for family in (*measures.COUNTERS, *measures.HISTOGRAMS, *measures.GAUGES)])


def families(value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, dict[tuple[str, ...], Any]]]:
    return st.dictionaries(NAMES, st.dictionaries(LABELS, value, max_size=4), max_size=3)


TICKS = st.builds(
    Tick,
    source=st.text(max_size=8),
    seq=st.integers(1, 2**53),
    at=st.floats(0, 2e9),
    counters=families(st.integers(0, 2**53)),
    histograms=families(st.lists(st.floats(0, 1e9), min_size=1, max_size=19)),
    gauges=families(st.floats(-1e9, 1e9)),
    records=st.binary(max_size=9),
    users=st.dictionaries(LABELS, st.binary(max_size=9), max_size=3),
)


@given(TICKS)
def test_what_was_sent_is_received_as_the_same(tick: Tick) -> None:
    assert from_wire(msgpack.unpackb(msgpack.packb(to_wire(tick)))) == tick


def test_labels_are_tuples_again() -> None:
    tick = Tick("w1", 1, 0.0, counters={"requests_total": {("refunds", "agent", "canary", "200"): 3}})
    received = from_wire(msgpack.unpackb(msgpack.packb(to_wire(tick))))
    assert received.counters["requests_total"][("refunds", "agent", "canary", "200")] == 3


def test_a_family_without_labels() -> None:
    tick = Tick("w1", 1, 0.0, gauges={"inflight_requests": {(): 2.0}})
    assert from_wire(to_wire(tick)).gauges == {"inflight_requests": {(): 2.0}}


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [FORMAT, "w1", 1, 0.0, [], [], [], []],
        [FORMAT, "w1", 1, 0.0, [], [], [], [], b"", "one too many"],
        [FORMAT, "w1", 1, 0.0, 5, [], [], [], b""],
        [FORMAT, "w1", 1, 0.0, [["requests_total"]], [], [], [], b""],
        [FORMAT, "w1", 1, 0.0, [["requests_total", [5]]], [], [], [], b""],
        [FORMAT, "w1", 1, 0.0, [], [], [], 5, b""],
        [FORMAT, "w1", 1, 0.0, [], [], [], [], []],
        [2, "w1", 1, 0.0, [], [], [], [], b""],
    ],
    ids=[
        "nothing",
        "too few",
        "too many",
        "families no list",
        "a name alone",
        "a row no list",
        "users no list",
        "records no bytes",
        "users before there were any",
    ],
)
def test_a_wrong_shape_is_refused(fields: list[Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        from_wire(fields)


def test_a_tick_of_the_format_before_is_read() -> None:
    """An older Crossfade may have left it in a worker's spool."""
    requests = ["requests_total", [["refunds", "agent", "canary", "200", 3]]]
    outcomes = ["outcomes", [["refunds", "v1", "canary", "1", "legacy", "ok", 2]]]
    assert from_wire([2, "w1", 1, 0.5, [requests, outcomes], [], [], b"records"]) == Tick(
        "w1",
        1,
        0.5,
        {
            "requests_total": {("refunds", "agent", "canary", "200"): 3},
            "outcomes": {("refunds", "v1", "canary", "1", "legacy", "ok", ""): 2},
        },
        records=b"records",
    )


@pytest.mark.parametrize("number", [1, FORMAT + 1, "w1", None])
def test_a_tick_of_another_format_is_refused_by_its_name(number: Any) -> None:
    with pytest.raises(ValueError, match=f"not of format {FORMAT}"):
        from_wire([number, "w1", 1, 0.0, [], [], [], [], b""])


@given(st.frozensets(st.integers(0, BUCKETS - 1), max_size=9))
def test_buckets_are_what_was_packed(buckets: frozenset[int]) -> None:
    assert unpack_buckets(pack_buckets(buckets)) == buckets


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x00\x00", "not of 3 bytes each"),
        (b"\x00\x00\x01\x00", "not of 3 bytes each"),
        (pack_buckets([5, BUCKETS]), "there is no bucket 100000"),
        ("abc", "not of 3 bytes each"),
        (None, "not of 3 bytes each"),
    ],
)
def test_what_are_no_buckets_is_refused(data: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        unpack_buckets(data)
