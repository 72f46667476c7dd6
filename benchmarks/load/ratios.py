"""Ratios that the machine's noise spares, and their spread.

Absolute figures move by a factor of 1.7 on a shared machine. So each run stands between two short reference runs (plain
nginx, the same process during the whole session), and a figure is first divided by the mean of its two references.
Figures of one round are then divided by each other, and the median of the rounds is what is reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.load.cases import Case, Goal, Measure
from benchmarks.load.measure import Run


@dataclass(frozen=True, slots=True)
class Reference:
    """Plain nginx, POST 1 KiB, just then: µs of CPU per request, p50 in milliseconds, requests per second."""

    cpu: float
    p50: float
    per_second: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one peer in one round, between two references. An idle run has none."""

    case: str
    peer: str
    round: int
    run: Run
    references: tuple[Reference, ...] = ()

    def normalised(self, measure: Measure) -> float | None:
        """The figure in units of the reference's; None where this run has no such figure."""
        if not self.references or self.run.load is None:
            return None
        match measure:
            case Measure.CPU:
                return self.run.cpu["worker"] / mean([reference.cpu for reference in self.references])
            case Measure.THROUGHPUT:
                return self.run.load.per_second / mean([reference.per_second for reference in self.references])
            case _:
                return self.run.load.p50 / mean([reference.p50 for reference in self.references])


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, and the lowest and the highest of them."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return self.said(digits=2)

    def said(self, digits: int) -> str:
        middle, low, high = (f"{value:.{digits}f}" for value in (self.middle, self.low, self.high))
        return middle if low == high else f"{middle} ({low} to {high})"


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def spread(values: Sequence[float]) -> Spread | None:
    return Spread(median(values), min(values), max(values)) if values else None


class Samples:
    """All runs of a session, and what can be asked of them."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = {(sample.case, sample.peer, sample.round): sample for sample in samples}

    def of(self, case: str, peer: str) -> list[Sample]:
        """The rounds of one peer in one case, in order."""
        return [sample for key, sample in sorted(self._samples.items()) if key[:2] == (case, peer)]

    def to_reference(self, case: str, peer: str) -> Spread | None:
        figures = (sample.normalised(Measure.CPU) for sample in self.of(case, peer))
        return spread([figure for figure in figures if figure is not None])

    def ratio(self, measure: Measure, this: tuple[str, str], that: tuple[str, str]) -> Spread | None:
        """`this` over `that`, both (case, peer), round by round; None when no round has both."""
        found = []
        for sample in self.of(*this):
            other = self._samples.get((*that, sample.round))
            ours, theirs = sample.normalised(measure), other.normalised(measure) if other else None
            if ours is not None and theirs:
                found.append(ours / theirs)
        return spread(found)

    def to_peer(self, case: Case, peer: str, other: str, measure: Measure = Measure.CPU) -> Spread | None:
        """The figure over that of `other` in the same case, or in the one it stands for where `other` has none."""
        compared = case.name if self.of(case.name, other) else case.against or case.name
        return self.ratio(measure, (case.name, peer), (compared, other))

    def reached(self, goal: Goal) -> Spread | None:
        """Crossfade's figure for a goal; None when its runs, or those it is compared with, are missing."""
        if goal.measure is Measure.MEMORY:
            runs = self.of(goal.case, "crossfade")
            return spread([sample.run.memory["worker"] / (1 << 20) for sample in runs])
        return self.ratio(goal.measure, (goal.case, "crossfade"), (goal.other, goal.peer))
