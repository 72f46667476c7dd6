"""The slow rule: an e-detector (Shin, Ramdas and Rinaldo 2022) over e-variables for two rates (Turner, Ly and Grünwald
2021). It is exact for any rate of bad outcomes that moves with time, as long as both arms share it."""

from math import exp, log
from typing import Final

from proxy.analysis.block import Block
from proxy.analysis.dumped import numbers

PSI: Final = (1.2, 1.5, 3.0, 10.0, 100.0)
"""The agent is so many times worse."""

_BETS: Final = tuple((psi - 1, log(psi)) for psi in PSI)
_MAX_GROWTH: Final = 100.0
"""Cap of one block's growth (a logarithm) and of an R over its limit: far past firing, far from overflow."""

_FEW: Final = 50
"""More bad outcomes than these could fire it in any case."""


class EDetector:
    """For each psi, with pi the agent's share of the block's requests and d the margin:

    `R <- (R + w) * exp(f_c * log(psi) - (f_c + f_l + d * n_l) * log(1 + pi * (psi - 1)))`

    w is the weight of bets that start with this block: half of all at the start, the other half spread over the
    horizon. Fires when the mean of the R reaches the limit.
    """

    __slots__ = ("_detectors", "_limit", "_margin", "_spread", "_weight")

    def __init__(self, margin: float, limit: float, horizon: float) -> None:
        self._margin, self._limit, self._spread = margin, limit, 0.5 / horizon
        self.restart()

    def restart(self) -> None:
        self._weight = 0.5
        self._detectors = [0.0] * len(PSI)

    def keep(self) -> tuple[float, list[float]]:
        """Its state, for `back`."""
        return self._weight, self._detectors[:]

    def back(self, kept: tuple[float, list[float]]) -> None:
        self._weight, self._detectors = kept

    def close(self, block: Block) -> bool:
        share = block.agent / (block.agent + block.legacy)
        weight, self._weight = self._weight + block.elapsed * self._spread, 0.0
        bad, detectors = block.agent_bad, self._detectors
        expected = bad + block.legacy_bad + self._margin * block.legacy
        for index, (less, logarithm) in enumerate(_BETS):
            growth = bad * logarithm - expected * log(1 + share * less)
            detectors[index] = (detectors[index] + weight) * exp(min(growth, _MAX_GROWTH))
        total, most = sum(detectors), _MAX_GROWTH * self._limit
        if total > most:
            self._detectors = [min(detector, most) for detector in detectors]
        return total / len(PSI) >= self._limit

    def may_fire(self, elapsed: float, bad: int) -> bool:
        """Whether it could within so many seconds, by so many bad outcomes of the agent."""
        weight, bad = self._weight + elapsed * self._spread, min(bad, _FEW)
        grown = [(detector + weight) * psi**bad for psi, detector in zip(PSI, self._detectors, strict=True)]
        return sum(grown) / len(PSI) >= self._limit

    def score(self) -> float:
        """The way to firing, 0 to 1, on the scale of the logarithm."""
        mean = sum(self._detectors) / len(PSI)
        return min(1.0, log(mean) / log(self._limit)) if mean > 1 else 0.0

    def dump(self) -> list[float]:
        return [self._weight, *self._detectors]

    def restore(self, data: object) -> None:
        """Go on from what `dump` gave. Raises ValueError on anything else."""
        self._weight, *self._detectors = numbers(data, 1 + len(PSI))
