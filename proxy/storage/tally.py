"""Evidence in the making, and sums of it. What it counts by name is bounded here as it is in the store.

At most MAX_NAMED segments, as many pairs of decisions and as many fields are kept apart; what comes later is counted
under OTHER. Two decisions that were not the same are then OTHER and ANOTHER, so that they still count as two.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from proxy.model.rollouts import ANOTHER, OTHER, ArmCount, Evidence

FIELDS: Final = (
    "legacy_requests", "legacy_failed", "legacy_slow",
    "agent_requests", "agent_failed", "agent_slow",
    "matched", "mismatched", "incomparable",
    "escalated", "drawn", "no_key", "served", "fallbacks", "agent_yes", "agent_no", "repeats", "repeats_alike",
)  # fmt: skip
"""In the order of `row`; also the names of these counts in the store."""

MAX_NAMED: Final = 100

_COLUMN: Final = {name: column for column, name in enumerate(FIELDS)}

Cell = tuple[str, str]
"""Legacy's decision and the agent's."""


class Tally:
    """Counts that can still be added to. `segments` are [matched, mismatched], `fields` [pairs, repeats]."""

    __slots__ = ("counts", "decisions", "fields", "segments")

    def __init__(self) -> None:
        self.counts = [0] * len(FIELDS)
        self.segments: dict[str, list[int]] = {}
        self.decisions: dict[Cell, int] = {}
        self.fields: dict[str, list[int]] = {}

    def count(self, field: str, n: int = 1) -> None:
        self.counts[_COLUMN[field]] += n

    def segment(self, name: str, matched: int, mismatched: int) -> None:
        _add_two(self.segments, name, matched, mismatched)

    def field(self, path: str, pairs: int, repeats: int) -> None:
        _add_two(self.fields, path, pairs, repeats)

    def decision(self, cell: Cell, n: int = 1) -> None:
        if cell not in self.decisions and len(self.decisions) >= MAX_NAMED:
            cell = beyond(cell)
        self.decisions[cell] = self.decisions.get(cell, 0) + n

    def add(self, evidence: Evidence) -> None:
        for column, n in enumerate(row(evidence)):
            self.counts[column] += n
        for name, (matched, mismatched) in evidence.segments.items():
            self.segment(name, matched, mismatched)
        for cell, n in evidence.decisions.items():
            self.decision(cell, n)
        for path, (pairs, repeats) in evidence.fields.items():
            self.field(path, pairs, repeats)

    def evidence(self) -> Evidence:
        segments = {name: (matched, mismatched) for name, (matched, mismatched) in self.segments.items()}
        fields = {path: (pairs, repeats) for path, (pairs, repeats) in self.fields.items()}
        return from_row(self.counts, segments, dict(self.decisions), fields)


def _add_two(table: dict[str, list[int]], name: str, first: int, second: int) -> None:
    if name not in table and len(table) >= MAX_NAMED:
        name = OTHER
    both = table.setdefault(name, [0, 0])
    both[0] += first
    both[1] += second


def beyond(cell: Cell) -> Cell:
    """What stands for a pair of decisions for which there is no room."""
    legacy, agent = cell
    return (OTHER, OTHER) if legacy == agent else (OTHER, ANOTHER)


def add(one: Evidence, other: Evidence) -> Evidence:
    tally = Tally()
    tally.add(one)
    tally.add(other)
    return tally.evidence()


def row(evidence: Evidence) -> tuple[int, ...]:
    """The counts in the order of FIELDS."""
    legacy, agent = evidence.legacy, evidence.agent
    return (
        legacy.requests, legacy.failed, legacy.slow,
        agent.requests, agent.failed, agent.slow,
        evidence.matched, evidence.mismatched, evidence.incomparable,
        evidence.escalated, evidence.drawn, evidence.no_key, evidence.served, evidence.fallbacks,
        evidence.agent_yes, evidence.agent_no, evidence.repeats, evidence.repeats_alike,
    )  # fmt: skip


def from_row(
    counts: Iterable[int],
    segments: Mapping[str, tuple[int, int]] | None = None,
    decisions: Mapping[Cell, int] | None = None,
    fields: Mapping[str, tuple[int, int]] | None = None,
) -> Evidence:
    """The inverse of `row`. Counts that are missing at the end are 0. Raises ValueError on too few or too many."""
    counts = tuple(counts)
    if not 6 <= len(counts) <= len(FIELDS):
        raise ValueError(f"{len(counts)} counts are no evidence")
    rest = dict(zip(FIELDS[6:], counts[6:], strict=False))
    return Evidence(
        ArmCount(*counts[:3]),
        ArmCount(*counts[3:6]),
        **rest,
        segments=segments or {},
        decisions=decisions or {},
        fields=fields or {},
    )
