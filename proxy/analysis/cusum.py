"""The fast rule: CUSUMs (Page 1954; Lorden 1971) of the agent's bad outcomes against a rate that is normal.

Each look may be wrong with a chance of `alpha * e / DAY`, where e is how long it has been since the look before, in
seconds: K alternatives at the threshold `h = log(K * DAY / (alpha * e))`, since a CUSUM stands at h or above with a
chance of at most e^-h at any one look (its increments read backwards are a supermartingale; Ville). So the false alarms
of a day add up to alpha, whether it has few blocks or many, and sparse traffic does not pay for ticks in which nothing
came. For e a moving average is taken, which adds up to the same: else the chance of two requests soon after each other
would make the threshold high.
"""

from math import log, sqrt
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

HALF_LIFE: Final = 3_600.0
"""Seconds after which legacy's past counts half."""

MIN_HISTORY: Final = 200.0
"""Legacy requests below which its rate is not known, and the rule is silent."""

FULL_HISTORY: Final = 2_000.0
"""Legacy requests below which nothing is forgotten."""


def alternatives(reference: float) -> list[float]:
    """`COUNT` rates; 0 in the place of those that are not clearly worse than the reference, or too near to 1."""
    least, most = RELATIVE[0] * reference, MAX_ALTERNATIVE / reference
    relative = [ratio * reference if ratio <= most else 0.0 for ratio in RELATIVE]
    return relative + [rate if rate >= least else 0.0 for rate in ABSOLUTE]


_Kept = tuple[float, list[float], list[float], list[Block]]


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

    def keep(self) -> _Kept:
        """Its state, for `back`."""
        return self.pace, self.sums[:], self.attribution[:], self.since[:]

    def back(self, kept: _Kept) -> None:
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


class TwoKeys:
    """The CUSUM against legacy's recent rate, with attribution. With q legacy's rate over n requests,
    `ref = q + d + 2 sqrt(q / n)`, d the margin and th an alternative:

    key 1, against the reference: C (see `Cusum`);
    key 2, attribution, with pi the agent's share of the block's requests and `t0 = pi th + (1-pi) q`:
    `A += f_c log(th/t0) + (n_c-f_c) log((1-th)/(1-t0)) + f_l log(q/t0) + (n_l-f_l) log((1-q)/(1-t0))`.

    By the second the agent must do badly compared with what both arms do now, so a fault that both share blames nobody.

    Fires when C and A reach their thresholds together.
    """

    __slots__ = ("_blame", "_margin", "bad", "cusum", "requests")

    def __init__(self, margin: float, alpha: float, blame: float, tick: float) -> None:
        self._margin, self._blame = margin, -log(blame)
        self.requests = self.bad = 0.0  # legacy's history, forgetting
        self.cusum = Cusum(alpha, tick)

    def keep(self) -> tuple[float, float, _Kept]:
        """Its state, for `back`."""
        return self.requests, self.bad, self.cusum.keep()

    def back(self, kept: tuple[float, float, _Kept]) -> None:
        self.requests, self.bad, cusum = kept
        self.cusum.back(cusum)

    @property
    def known(self) -> bool:
        """Whether enough was seen of legacy to know its rate."""
        return self.requests >= MIN_HISTORY

    @property
    def rate(self) -> float:
        """Legacy's, a little towards 5 % where little was seen of it; never 0."""
        return (self.bad + 1) / (self.requests + 20)

    @property
    def reference(self) -> float:
        rate = self.rate
        return rate + self._margin + 2 * sqrt(rate / (self.requests + 20))

    def close(self, block: Block, before: Block) -> int:
        """The place of the alternative that fired, the most certain one where several did; -1 where none did."""
        fired = self._judge(block, before) if self.cusum.look(block) and self.known else -1
        self.learn(block)
        return fired

    def may_fire(self, legacy: int, bad: int) -> bool:
        """Whether it could while so many legacy requests are added, by so many bad outcomes of the agent: none of them
        adds more than the reference's logarithm takes away."""
        requests = self.requests + legacy
        reference = self._margin + (self.bad + 1) / (requests + 20)
        return requests >= MIN_HISTORY and max(self.cusum.sums) - bad * log(min(reference, 1.0)) >= self.cusum.least

    def score(self) -> float:
        """The way to firing, 0 to 1: the key that lags behind, of the alternative that is ahead."""
        least, keys = self.cusum.threshold, zip(self.cusum.sums, self.cusum.attribution, strict=True)
        return max(0.0, *(min(c / least, a / self._blame, 1.0) for c, a in keys))

    def learn(self, block: Block) -> None:
        """Add legacy's outcomes to its history, which forgets, but never below FULL_HISTORY requests."""
        if self.requests > FULL_HISTORY:
            kept = max(0.5 ** (block.elapsed / HALF_LIFE), FULL_HISTORY / self.requests)
            self.requests *= kept
            self.bad *= kept
        self.requests += block.legacy
        self.bad += block.legacy_bad

    def dump(self) -> list[object]:
        return [self.requests, self.bad, self.cusum.dump()]

    def restore(self, data: object, *, history_only: bool) -> None:
        """Go on from what `dump` gave. Raises ValueError on anything else."""
        requests, bad, cusum = dumped.items(data, 3)
        self.requests, self.bad = dumped.numbers([requests, bad], 2)
        if self.bad > self.requests:
            raise ValueError("more of legacy's requests were bad than there were")
        if not history_only:
            self.cusum.restore(cusum)

    def _judge(self, block: Block, before: Block) -> int:
        rate, reference = self.rate, self.reference
        least = self.cusum.threshold
        share = block.agent / (block.agent + block.legacy)
        sums, attribution, fired = self.cusum.sums, self.cusum.attribution, -1
        for index, th in enumerate(alternatives(reference)):
            if not (block.agent_bad or sums[index]):
                continue
            sum_ = self.cusum.add(index, th, reference, block, before)
            if not sum_:
                continue
            attribution[index] += _blamed(block, share, th, rate)
            if sum_ >= least and attribution[index] >= self._blame:
                fired, least = index, sum_
        return fired


def _blamed(block: Block, share: float, th: float, rate: float) -> float:
    both = share * th + (1 - share) * rate
    bad, legacy_bad = block.agent_bad, block.legacy_bad
    return (
        bad * log(th / both)
        + (block.agent - bad) * log((1 - th) / (1 - both))
        + legacy_bad * log(rate / both)
        + (block.legacy - legacy_bad) * log((1 - rate) / (1 - both))
    )
