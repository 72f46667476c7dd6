"""CUSUMs (Page 1954; Lorden 1971) of bad outcomes against a rate that is normal: the fast rule's first key (`twokeys`).

Each look may be wrong with a chance of `alpha * e / DAY`, where e is how long it has been since the look before, in
seconds: K alternatives at the threshold `h = log(K * DAY / (alpha * e))`, since a CUSUM stands at h or above with a
chance of at most e^-h at any one look (its increments read backwards are a supermartingale; Ville). So the false alarms
of a day add up to alpha, whether it has few blocks or many, and sparse traffic does not pay for ticks in which nothing
came. For e a moving average is taken, which adds up to the same: else the chance of two requests soon after each other
would make the threshold high.
"""

from math import log
from typing import Final

from proxy.analysis import dumped
from proxy.analysis.block import NOTHING, Block

DAY: Final = 86_400.0

RELATIVE: Final = (1.2, 2.5)
ABSOLUTE: Final = (0.1, 0.2, 0.4, 0.95)
"""Alternatives: the agent's rate is so many times the reference, or this."""

COUNT: Final = len(RELATIVE) + len(ABSOLUTE)
MAX_ALTERNATIVE: Final = 0.99
MIN_REFERENCE: Final = 1e-4

SHORTEST: Final = 1e-3
LONGEST: Final = 10.0
"""A block counts as so many seconds at least and at most. Without the latter, a quiet night would leave so much to
spend that three bad outcomes of one user sufficed in the morning."""

PACE: Final = 0.25
"""Weight of the newest block in the moving average."""

HEADROOM: Final = 3.0
"""A CUSUM is capped so far above its usual threshold, so that it soon forgets a fault that both arms had."""


def alternatives(reference: float) -> list[float]:
    """`COUNT` rates; 0 in the place of those that are not clearly worse than the reference, or too near to 1."""
    least, most = RELATIVE[0] * reference, MAX_ALTERNATIVE / reference
    relative = [ratio * reference if ratio <= most else 0.0 for ratio in RELATIVE]
    return relative + [rate if rate >= least else 0.0 for rate in ABSOLUTE]


Kept = tuple[float, list[float], list[float], list[Block]]


class Cusum:
    """One sum per alternative: `C <- max(0, C + f log(th/ref) + (n - f) log((1-th)/(1-ref)))` for f bad ones of n.

    `attribution` starts and ends with each of them, and is whatever its owner adds to it. `since` is what had been seen
    when it began. `pace`: usual seconds from look to look.
    """

    __slots__ = ("_cap", "_spent", "_tick", "attribution", "pace", "since", "sums")

    def __init__(self, alpha: float, tick: float) -> None:
        self._spent, self._tick = COUNT * DAY / alpha, tick
        self.restart()
        self._cap = self.threshold + HEADROOM

    def restart(self) -> None:
        self.pace = self._tick
        self.sums = [0.0] * COUNT
        self.attribution = [0.0] * COUNT
        self.since = [NOTHING] * COUNT

    @property
    def threshold(self) -> float:
        return log(self._spent / self.pace)

    @property
    def least(self) -> float:
        """The lowest that the threshold can become."""
        return log(self._spent / LONGEST)

    def keep(self) -> Kept:
        """Its state, for `back`."""
        return self.pace, self.sums[:], self.attribution[:], self.since[:]

    def back(self, kept: Kept) -> None:
        self.pace, self.sums, self.attribution, self.since = kept

    def look(self, block: Block) -> bool:
        """Call it first with each block. False where the block leaves all sums at 0, whatever the reference."""
        elapsed = block.elapsed / (block.looks or 1)
        self.pace += PACE * (min(max(elapsed, SHORTEST), LONGEST) - self.pace)
        return block.agent_bad > 0 or any(self.sums)

    def add(self, index: int, th: float, reference: float, block: Block, before: Block) -> float:
        """Add the block to one sum and return what it is now, before its cap. `before`: all that was seen before."""
        bad, was = block.agent_bad, self.sums[index]
        now = 0.0
        if th and (bad or was > 0):
            now = was + bad * log(th / reference) + (block.agent - bad) * log((1 - th) / (1 - reference))
        if now <= 0:
            self.sums[index] = self.attribution[index] = 0.0
            return 0.0
        if was <= 0:
            self.since[index] = before
        self.sums[index] = min(now, self._cap)
        return now

    def dump(self) -> list[object]:
        return [self.pace, self.sums[:], self.attribution[:], [list(start) for start in self.since]]

    def restore(self, data: object) -> None:
        """Go on from what `dump` gave. Raises ValueError on anything else."""
        pace, sums, attribution, since = dumped.items(data, 4)
        self.pace = min(max(*dumped.numbers([pace], 1), SHORTEST), LONGEST)
        self.sums = dumped.numbers(sums, COUNT)
        self.attribution = dumped.numbers(attribution, COUNT, signed=True)
        self.since = [dumped.block(start) for start in dumped.items(since, COUNT)]
