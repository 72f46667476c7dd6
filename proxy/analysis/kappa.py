"""Cohen's kappa: how far two deciders agree beyond what chance alone would give, with an interval that may be looked at
all the time.

The variance is the large-sample one of Fleiss, Cohen and Everitt (1969), written as the variance of kappa's influence
function. The interval is an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021,
theorem 2.2): for any number of looks, where the pairs are as many as a central limit needs; ask for `min_samples` too.
"""

from collections import defaultdict
from collections.abc import Mapping
from math import log, sqrt
from typing import Final, NamedTuple

TIGHTEST: Final = 500
"""Pairs at which the interval is as narrow as it can be made."""


class Kappa(NamedTuple):
    """`value` is None where kappa is not defined: fewer than two different decisions were seen. All from -1 to 1."""

    value: float | None
    lower: float
    upper: float


NOTHING: Final = Kappa(None, -1.0, 1.0)


def kappa(decisions: Mapping[tuple[str, str], int], alpha: float) -> Kappa:
    """Kappa of the comparable pairs, counted by (legacy's decision, the agent's), with confidence 1 - alpha.

    For the interval one disagreement between the two commonest decisions is added: where none was seen yet, the
    variance would be 0 and a handful of pairs seem certain.
    """
    counts = {cell: float(count) for cell, count in decisions.items() if count > 0}
    value, _ = _estimate(counts)
    if value is None:
        return NOTHING
    first, second = _commonest(counts)
    for cell in ((first, second), (second, first)):
        counts[cell] = counts.get(cell, 0.0) + 0.5
    centre, variance = _estimate(counts)
    assert centre is not None
    half = sqrt(variance) * _width(sum(counts.values()), alpha)
    return Kappa(value, max(-1.0, centre - half), min(1.0, max(value, centre + half)))


def _estimate(counts: Mapping[tuple[str, str], float]) -> tuple[float | None, float]:
    """Kappa, and the variance of one pair's influence on it: `(match (1 - pe) - (c_i + r_j) (1 - po)) / (1 - pe)^2` for
    a pair (i, j), with r and c the shares of the rows' and the columns' decisions."""
    pairs = sum(counts.values())
    rows: defaultdict[str, float] = defaultdict(float)
    columns: defaultdict[str, float] = defaultdict(float)
    for (legacy, agent), count in counts.items():
        rows[legacy] += count / pairs
        columns[agent] += count / pairs
    observed = sum(count for (legacy, agent), count in counts.items() if legacy == agent) / (pairs or 1.0)
    chance = sum(share * columns[decision] for decision, share in rows.items())
    if not pairs or len(rows.keys() | columns.keys()) < 2 or chance >= 1:
        return None, 0.0
    mean = square = 0.0
    for (legacy, agent), count in counts.items():
        influence = (1 - chance if legacy == agent else 0.0) - (columns[legacy] + rows[agent]) * (1 - observed)
        mean += count / pairs * influence
        square += count / pairs * influence * influence
    return (observed - chance) / (1 - chance), max(0.0, square - mean * mean) / (1 - chance) ** 4


def _commonest(counts: Mapping[tuple[str, str], float]) -> tuple[str, str]:
    said: dict[str, float] = {}
    for (legacy, agent), count in counts.items():
        said[legacy] = said.get(legacy, 0.0) + count
        said[agent] = said.get(agent, 0.0) + count
    first, second = sorted(said, key=lambda decision: (-said[decision], decision))[:2]
    return first, second


def _width(pairs: float, alpha: float) -> float:
    """Half the interval's width for a variance of 1."""
    rho = (-2 * log(alpha) + log(1 - 2 * log(alpha))) / TIGHTEST
    spread = pairs * rho + 1
    return sqrt(2 * spread / (pairs * pairs * rho) * log(sqrt(spread) / alpha))
