"""What is known of legacy: its usual rate of bad outcomes, its rate of the last minute, and whether that is a fault.

The fast rule holds the agent against legacy's usual rate. When both arms begin to fail more often, that is too low
until the hour has been forgotten, and the agent looks bad for as long. So two more things are asked of legacy:

- Its rate now, over half a minute, less one standard deviation: where that is above the usual one, it is what the
  agent is held against. While legacy's rate has not moved, one look in six finds it so high by chance; a fault of the
  agent then takes a little longer to show.
- The same CUSUM that the agent's bad outcomes go through, over its own. While nothing is wrong it stands at x or above
  with a chance of at most e^-x for each alternative. The more certain legacy's own fault, the more certain must be that
  the agent's is another one (`doubt`).

Requests of legacy that are open are bad for the usual rate, as for all that judges the agent; for these two they are
none, since they are no sign of a fault.
"""

from math import sqrt
from typing import Final

from proxy.analysis import dumped
from proxy.analysis.block import NOTHING, Block
from proxy.analysis.cusum import Cusum, Kept, alternatives

HALF_LIFE: Final = 3_600.0
"""Seconds after which legacy's past counts half."""

MIN_HISTORY: Final = 200.0
"""Legacy requests below which its rate is not known, and the rule is silent."""

FULL_HISTORY: Final = 2_000.0
"""Legacy requests below which nothing is forgotten."""

SHORT_HALF_LIFE: Final = 30.0
"""Seconds after which what legacy does now counts half."""

PRIOR: Final = 20.0
"""Requests that are supposed besides those that were seen, so that a rate of few is no certainty: one bad one of them
over the long time; over the short one, as many as are usual."""

NO_DOUBT: Final = 2.0
"""Where legacy's own CUSUM stands now and then while nothing is wrong."""

MAX_DOUBT: Final = 12.0
"""However badly legacy does, an agent that does far worse is found, a little later."""


class History:
    """Legacy's outcomes, forgetting. Call `compare` with a block, then `learn`."""

    __slots__ = ("_margin", "_own", "_short", "_short_bad", "bad", "requests")

    def __init__(self, margin: float, alpha: float, tick: float) -> None:
        self._margin = margin
        self.requests = self.bad = 0.0
        self._short = self._short_bad = 0.0
        self._own = Cusum(alpha, tick)

    def keep(self) -> tuple[float, float, float, float, Kept]:
        """Its state, for `back`."""
        return self.requests, self.bad, self._short, self._short_bad, self._own.keep()

    def back(self, kept: tuple[float, float, float, float, Kept]) -> None:
        self.requests, self.bad, self._short, self._short_bad, own = kept
        self._own.back(own)

    @property
    def known(self) -> bool:
        """Whether enough was seen of legacy to know its rate."""
        return self.requests >= MIN_HISTORY

    @property
    def rate(self) -> float:
        """The usual one, a little towards 5 % where little was seen of it; never 0."""
        return (self.bad + 1) / (self.requests + PRIOR)

    @property
    def rate_now(self) -> float:
        """The usual one, or what the rate has risen to by now, as far as that is certain."""
        usual, requests = self.rate, self._short + PRIOR
        now = (self._short_bad + PRIOR * usual) / requests
        return max(usual, now - sqrt(now / requests))

    def reference(self, rate: float) -> float:
        """What is clearly no worse than such a rate: with the margin, and what is unsure about it."""
        return rate + self._margin + 2 * sqrt(rate / (self.requests + PRIOR))

    @property
    def doubt(self) -> float:
        """How much more certain than usual it must be that a fault is the agent's own (a logarithm), by what legacy
        itself does."""
        return min(max(0.0, max(self._own.sums) - NO_DOUBT), MAX_DOUBT)

    def compare(self, block: Block) -> None:
        """Hold legacy's outcomes of the block against its own usual rate, where that is known."""
        own = Block(block.elapsed, block.legacy - block.pending, block.legacy_bad - block.pending)
        if not self.known or not self._own.look(own):
            return
        reference = self.reference(self.rate)
        for index, th in enumerate(alternatives(reference)):
            self._own.add(index, th, reference, own, NOTHING)

    def learn(self, block: Block) -> None:
        """Add legacy's outcomes to its rates. The usual one forgets, but never below FULL_HISTORY requests."""
        if self.requests > FULL_HISTORY:
            kept = max(0.5 ** (block.elapsed / HALF_LIFE), FULL_HISTORY / self.requests)
            self.requests *= kept
            self.bad *= kept
        self.requests += block.legacy
        self.bad += block.legacy_bad
        kept = 0.5 ** (block.elapsed / SHORT_HALF_LIFE)
        self._short = self._short * kept + block.legacy - block.pending
        self._short_bad = self._short_bad * kept + block.legacy_bad - block.pending

    def dump(self) -> list[object]:
        return [self.requests, self.bad, self._short, self._short_bad, self._own.dump()]

    def restore(self, data: object) -> None:
        """Go on from what `dump` gave. Raises ValueError on anything else."""
        *counts, own = dumped.items(data, 5)
        self.requests, self.bad, self._short, self._short_bad = dumped.numbers(counts, 4)
        if self.bad > self.requests or self._short_bad > self._short:
            raise ValueError("more of legacy's requests were bad than there were")
        self._own.restore(own)
