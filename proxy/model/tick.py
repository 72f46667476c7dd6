"""The counts a worker reports: what happened since its last tick.

Deltas, not totals: each tick has a sequence number of its worker, and whoever adds it up drops a number it has seen
(see `storage`), so a tick that is sent again is counted once.
"""

from dataclasses import dataclass, field
from typing import Any

Labels = tuple[str, ...]
Counts = dict[str, dict[Labels, int]]
"""family name -> labels -> how many."""

Histograms = dict[str, dict[Labels, list[float]]]
"""family name -> labels -> [sum of seconds, count in bucket 0, 1, ..., over the last bound]."""

Gauges = dict[str, dict[Labels, float]]


@dataclass(slots=True)
class Tick:
    """One report. `records` are packed `Record` tuples. `source` is the worker's life (a new one after a restart)."""

    source: str
    seq: int
    at: float
    counters: Counts = field(default_factory=dict)
    histograms: Histograms = field(default_factory=dict)
    gauges: Gauges = field(default_factory=dict)
    records: list[Any] = field(default_factory=list)


def to_wire(tick: Tick) -> list[Any]:
    return [
        tick.source,
        tick.seq,
        tick.at,
        _rows(tick.counters),
        _rows(tick.histograms),
        _rows(tick.gauges),
        tick.records,
    ]


def from_wire(fields: list[Any]) -> Tick:
    """Raises ValueError or TypeError on a wrong shape."""
    source, seq, at, counters, histograms, gauges, records = fields
    return Tick(source, seq, at, _families(counters), _families(histograms), _families(gauges), records)


def _rows(families: dict[str, dict[Labels, Any]]) -> list[Any]:
    return [[name, [[*labels, value] for labels, value in rows.items()]] for name, rows in families.items()]


def _families(wire: list[Any]) -> dict[str, dict[Labels, Any]]:
    return {name: {tuple(row[:-1]): row[-1] for row in rows} for name, rows in wire}
