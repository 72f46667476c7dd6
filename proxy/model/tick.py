"""The counts a worker reports: what happened since its last tick.

Deltas, not totals: each tick has a sequence number of its worker, and whoever adds it up drops a number it has seen
(see `storage`), so a tick that is sent again is counted once.
"""

from dataclasses import dataclass, field
from typing import Any, Final

FORMAT: Final = 3
"""Of a tick on the wire; one of an older Crossfade may wait in a spool. 1 had no number, and records as lists; 2 no
users, and outcomes without their slots."""

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
    if fields[:1] != [FORMAT]:
        raise ValueError(f"it is not of format {FORMAT}, which this Crossfade knows")
    _, source, seq, at, counters, histograms, gauges, users, records = fields
    if not isinstance(records, bytes):
        raise TypeError("its records are not bytes")
    seen = {tuple(row[:-1]): row[-1] for row in users}
    return Tick(source, seq, at, _families(counters), _families(histograms), _families(gauges), records, seen)


def _rows(families: dict[str, dict[Labels, Any]]) -> list[Any]:
    return [[name, [[*labels, value] for labels, value in rows.items()]] for name, rows in families.items()]


def _families(wire: list[Any]) -> dict[str, dict[Labels, Any]]:
    return {name: {tuple(row[:-1]): row[-1] for row in rows} for name, rows in wire}
