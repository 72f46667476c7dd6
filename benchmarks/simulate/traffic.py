"""Traffic of both arms, drawn from a seed: how many requests arrive in each row of time, and how many of them are bad.

Arrivals are Poisson, and so are bad and good ones each by themselves. Means from 1,000 on are drawn as normal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from math import exp, lgamma, log, sqrt
from random import Random
from typing import NamedTuple

SLOT = 0.2
"""Seconds: what the product judges by."""

_LARGE = 1_000.0
_FAR = 12.0
"""Standard deviations beyond which a count is never drawn."""


class Stretch(NamedTuple):
    """Time in which nothing changes: how long, requests a second, the share of bad ones; in rows of `row` seconds."""

    seconds: float
    agent: float
    legacy: float
    agent_bad: float
    legacy_bad: float
    row: float = SLOT


@dataclass(slots=True)
class Series:
    """Rows of time with the counts of each; `ends` says when each row ends (seconds from the start)."""

    ends: list[float] = field(default_factory=list)
    agent: list[int] = field(default_factory=list)
    agent_bad: list[int] = field(default_factory=list)
    legacy: list[int] = field(default_factory=list)
    legacy_bad: list[int] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[float, int, int, int, int]]:
        """When each ends, and (agent, bad ones, legacy, bad ones)."""
        return zip(self.ends, self.agent, self.agent_bad, self.legacy, self.legacy_bad, strict=True)

    @property
    def length(self) -> float:
        return self.ends[-1] if self.ends else 0.0


def draw(rng: Random, stretches: Sequence[Stretch]) -> Series:
    """The stretches, one after the other."""
    series = Series()
    for stretch in stretches:
        count = round(stretch.seconds / stretch.row)
        start, row = series.length, stretch.row
        series.ends += [start + row * number for number in range(1, count + 1)]
        _arm(rng, series.agent, series.agent_bad, stretch.agent * row, stretch.agent_bad, count)
        _arm(rng, series.legacy, series.legacy_bad, stretch.legacy * row, stretch.legacy_bad, count)
    return series


def _arm(rng: Random, requests: list[int], bads: list[int], mean: float, share: float, count: int) -> None:
    bad, good = poisson(rng, mean * share, count), poisson(rng, mean * (1 - share), count)
    bads += bad
    requests += [one + other for one, other in zip(bad, good, strict=True)]


def poisson(rng: Random, mean: float, count: int) -> list[int]:
    """So many counts of that mean."""
    if mean <= 0:
        return [0] * count
    if mean >= _LARGE:
        deviation = sqrt(mean)
        return [max(0, round(rng.gauss(mean, deviation))) for _ in range(count)]
    first, weights = _distribution(mean)
    return rng.choices(range(first, first + len(weights)), cum_weights=weights, k=count)


@lru_cache(maxsize=512)
def _distribution(mean: float) -> tuple[int, list[float]]:
    """The smallest count that is drawn, and the cumulated chances from there on."""
    reach = _FAR * sqrt(mean) + 20
    first, last = max(0, int(mean - reach)), int(mean + reach)
    return first, list(accumulate(exp(count * log(mean) - mean - lgamma(count + 1)) for count in range(first, last)))
