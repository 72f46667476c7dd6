"""Records between requests and ticks: packed at once, in order, within the bound."""

from typing import Any

import msgpack

from proxy.gateway.parcels import MAX_BYTES, MAX_PARCEL, MAX_RECORD, TOO_LARGE, WORKER_FULL, Parcels
from proxy.model.records import Parcel, split


def fields(number: int, body: bytes = b"") -> tuple[Any, ...]:
    return (number, body)


def numbers(parcels: list[Parcel]) -> list[int]:
    return [number for parcel in parcels for number, _ in split(b"".join(parcel.records))]


def size(parcel: Parcel) -> int:
    return sum(map(len, parcel.records))


def test_a_drain_gives_what_came_since_the_last_one() -> None:
    parcels = Parcels()
    for number, route in enumerate(("refunds", "claims", "refunds")):
        assert parcels.add(route, fields(number), 0) == ""
    [parcel] = drained = parcels.drain()
    assert numbers(drained) == [0, 1, 2]
    assert parcel.counts == {"refunds": 2, "claims": 1}
    assert parcels.drain() == []


def test_a_record_is_packed_when_it_comes() -> None:
    parcels, names = Parcels(), ["before"]
    parcels.add("refunds", (names,), 0)
    names[0] = "after"
    [parcel] = parcels.drain()
    assert [msgpack.unpackb(record) for record in parcel.records] == [[["before"]]]


def test_a_full_parcel_is_told_at_once_and_those_after_it_are_in_the_next() -> None:
    parcels, told = Parcels(), []
    parcels.on_full = lambda: told.append(parcels.drain())
    half = b"x" * (MAX_PARCEL // 2)
    for number in range(5):
        parcels.add("refunds", fields(number, half), len(half))
    assert [numbers(drained) for drained in told] == [[0, 1], [2, 3]]
    assert all(MAX_PARCEL <= size(parcel) < MAX_PARCEL + 100 for drained in told for parcel in drained)
    assert numbers(parcels.drain()) == [4]


def test_records_past_the_bound_are_refused_until_there_is_room() -> None:
    parcels, body = Parcels(), b"x" * (1 << 20)
    results = [parcels.add("refunds", fields(number, body), len(body)) for number in range(20)]
    assert results == [""] * 15 + [WORKER_FULL] * 5
    drained = parcels.drain()
    assert numbers(drained) == list(range(15))
    assert sum(map(size, drained)) <= MAX_BYTES
    assert parcels.add("refunds", fields(20, body), len(body)) == ""


def test_a_record_too_large_for_any_parcel_is_refused() -> None:
    parcels = Parcels()
    assert parcels.add("refunds", fields(0), MAX_RECORD + 1) == TOO_LARGE
    assert parcels.add("refunds", fields(1), MAX_RECORD) == ""
    assert numbers(parcels.drain()) == [1]
