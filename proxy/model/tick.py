"""The counts a worker reports: what happened since its last tick.

Deltas, not totals: each tick has a sequence number of its worker, and whoever adds it up drops a number it has seen
(see `storage`), so a tick that is sent again is counted once.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.model.measures import OUTCOMES, OWED, PAIRS_DROPPED, RECORDS
from proxy.model.snapshot import BUCKETS

FORMAT: Final = 3
"""Of a tick on the wire. 1 had no number, and records as lists; it is refused."""

_WITHOUT_USERS: Final = 2
"""The format before: no users, and outcomes without their slots. It is read: ticks of it may wait in a spool while
Crossfade is upgraded."""

_BUCKET: Final = struct.Struct(">HB")

Labels = tuple[str, ...]
Counts = dict[str, dict[Labels, int]]
"""family name -> labels -> how many."""

Histograms = dict[str, dict[Labels, list[float]]]
"""family name -> labels -> [sum of seconds, count in bucket 0, 1, ..., over the last bound]."""

Gauges = dict[str, dict[Labels, float]]


@dataclass(slots=True)
class Tick:
    """One report. `records` are packed (see `records`). `source` is the worker's life (a new one after a restart).
    `users` are the buckets of the users that were served for the first time since this worker began at that stage and
    weight, by (route, version, stage, epoch, weight, arm): 3 bytes each, big-endian."""

    source: str
    seq: int
    at: float
    counters: Counts = field(default_factory=dict)
    histograms: Histograms = field(default_factory=dict)
    gauges: Gauges = field(default_factory=dict)
    records: bytes = b""
    users: dict[Labels, bytes] = field(default_factory=dict)


def to_wire(tick: Tick) -> list[Any]:
    return [
        FORMAT,
        tick.source,
        tick.seq,
        tick.at,
        _rows(tick.counters),
        _rows(tick.histograms),
        _rows(tick.gauges),
        [[*labels, buckets] for labels, buckets in tick.users.items()],
        tick.records,
    ]


def from_wire(fields: list[Any]) -> Tick:
    """Raises ValueError or TypeError on a wrong shape, another format included."""
    match fields[:1]:
        case [int(number)] if number == FORMAT:
            _, source, seq, at, counters, histograms, gauges, users, records = fields
        case [int(number)] if number == _WITHOUT_USERS:
            (_, source, seq, at, counters, histograms, gauges, records), users = fields, []
        case _:
            raise ValueError(f"it is not of format {FORMAT}, which this Crossfade knows")
    if not isinstance(records, bytes):
        raise TypeError("its records are not bytes")
    counts = _families(counters)
    if number == _WITHOUT_USERS and OUTCOMES.name in counts:
        counts[OUTCOMES.name] = {(*labels, ""): count for labels, count in counts[OUTCOMES.name].items()}
    seen = {tuple(row[:-1]): row[-1] for row in users}
    return Tick(source, seq, at, counts, _families(histograms), _families(gauges), records, seen)


def settled(counters: Counts) -> dict[str, int]:
    """Of how many records, by route, a tick with these counters says what became of them."""
    records: dict[str, int] = {}
    for family in (RECORDS, PAIRS_DROPPED, OWED):
        for (route, *_), count in counters.get(family.name, {}).items():
            records[route] = records.get(route, 0) + count
    return records


def pack_buckets(buckets: Iterable[int]) -> bytes:
    """As in `Tick.users`."""
    return b"".join([bucket.to_bytes(3, "big") for bucket in buckets])


def unpack_buckets(data: bytes) -> frozenset[int]:
    """The inverse of `pack_buckets`. Raises ValueError where these are no buckets."""
    try:
        found = frozenset([high << 8 | low for high, low in _BUCKET.iter_unpack(data)])
    except (struct.error, TypeError):
        raise ValueError("buckets are not of 3 bytes each") from None
    if found and max(found) >= BUCKETS:
        raise ValueError(f"there is no bucket {max(found)}")
    return found


def _rows(families: dict[str, dict[Labels, Any]]) -> list[Any]:
    return [[name, [[*labels, value] for labels, value in rows.items()]] for name, rows in families.items()]


def _families(wire: list[Any]) -> dict[str, dict[Labels, Any]]:
    return {name: {tuple(row[:-1]): row[-1] for row in rows} for name, rows in wire}
