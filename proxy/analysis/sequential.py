"""The guard's test: is the agent worse than legacy now? One instance for failures, another for slowness.

Two rules run side by side. Both take counts per tick, keep a dozen floats, and are valid under constant looking.

Slow rule, an e-detector (Shin, Ramdas and Rinaldo 2022) over e-variables for two rates (Turner, Ly and Grünwald 2021).
It is exact for any error rate that moves with time, as long as both arms share it.

Fast rule, a CUSUM (Page 1954; Lorden 1971) of the agent against legacy's recent rate, that also needs attribution: the
agent must do badly compared with what both arms do now, so a fault that both share blames nobody.
"""

from math import exp, log, sqrt
from typing import Final, NamedTuple

DAY: Final = 86_400.0
HALF_LIFE: Final = 3_600.0
"""Seconds after which legacy's past counts half."""

MIN_HISTORY: Final = 200.0
"""Legacy requests below which the fast rule is silent."""

FULL_HISTORY: Final = 2_000.0
"""Legacy requests below which nothing is forgotten."""

PSI: Final = (1.2, 1.5, 3.0, 10.0, 100.0)
"""Slow rule: the agent is so many times worse."""

RELATIVE: Final = (1.2, 2.5)
ABSOLUTE: Final = (0.1, 0.4, 0.95)
"""Fast rule: the agent's rate is so many times the reference, or this."""

MAX_ALTERNATIVE: Final = 0.99

HEADROOM: Final = 3.0
"""A CUSUM is capped so far above its threshold, so that it soon forgets a fault that both arms had."""

_LOG_PSI: Final = tuple(log(psi) for psi in PSI)
_MAX_GROWTH: Final = 100.0
"""Cap of one block's growth (a logarithm) and of an R over its limit: far past firing, far from overflow."""


class Finding(NamedTuple):
    """What the test says now. `score` is the stronger rule's way to firing, 0 to 1 (1 where it fired). Rates are those
    of all requests since the start; `agent` and `legacy` how many those were."""

    fired: bool
    rule: str
    score: float
    agent_rate: float
    legacy_rate: float
    agent: int
    legacy: int

    @property
    def reason(self) -> str:
        return (
            f"{self.agent_rate:.2%} of {self.agent} agent requests against {self.legacy_rate:.2%} of {self.legacy}"
            f" legacy requests ({self.rule} rule)"
        )


class TwoArms:
    """The two rules over one kind of bad outcome. Feed it every tick; once fired, it stays fired.

    `margin` is how much worse the agent may be (0 to 1), `alpha` the chance of a false alarm per `horizon` seconds,
    `blame` the chance that a fault of both arms is attributed to the agent, `tick` the usual seconds between steps.
    """

    __slots__ = ("_fast", "_seen", "_slow", "_waiting", "fired", "margin")

    def __init__(
        self, margin: float, *, alpha: float = 0.001, blame: float = 0.0001, tick: float = 0.2, horizon: float = DAY
    ) -> None:
        self.margin = margin
        self.fired = ""
        self._slow = _Slow(margin, 2 / alpha, horizon)
        self._fast = _Fast(margin, log(5 * DAY / tick / alpha), -log(blame))
        self._waiting = _Block()
        self._seen = _Block()

    def step(self, elapsed: float, agent: int, agent_bad: int, legacy: int, legacy_bad: int) -> Finding:
        """Add what arrived in the last `elapsed` seconds: requests and bad ones of each arm, of all workers together.

        Counts wait until both arms were seen: a block closes only then.
        """
        added = _Block(elapsed, agent, agent_bad, legacy, legacy_bad)
        self._seen = self._seen.plus(added)
        block = self._waiting.plus(added)
        if block.agent == 0 or block.legacy == 0:
            self._waiting = block
            return self.finding()
        self._waiting = _Block()
        slow, fast = self._slow.close(block), self._fast.close(block)
        if not self.fired:
            self.fired = "fast" if fast else "slow" if slow else ""
        return self.finding()

    def finding(self) -> Finding:
        """What the test says now."""
        seen, slow, fast = self._seen, self._slow.score(), self._fast.score()
        return Finding(
            fired=bool(self.fired),
            rule=self.fired or ("fast" if fast > slow else "slow"),
            score=1.0 if self.fired else max(slow, fast),
            agent_rate=seen.agent_bad / seen.agent if seen.agent else 0.0,
            legacy_rate=seen.legacy_bad / seen.legacy if seen.legacy else 0.0,
            agent=seen.agent,
            legacy=seen.legacy,
        )


class _Block(NamedTuple):
    """Counts of one stretch of time in which both arms were seen, or not yet."""

    elapsed: float = 0.0
    agent: int = 0
    agent_bad: int = 0
    legacy: int = 0
    legacy_bad: int = 0

    def plus(self, other: "_Block") -> "_Block":
        return _Block(
            self.elapsed + other.elapsed,
            self.agent + other.agent,
            self.agent_bad + other.agent_bad,
            self.legacy + other.legacy,
            self.legacy_bad + other.legacy_bad,
        )


class _Slow:
    """The e-detector. For each psi, with pi the agent's share of the block's requests and d the margin:

    `R <- (R + w) * exp(f_c * log(psi) - (f_c + f_l + d * n_l) * log(1 + pi * (psi - 1)))`

    w is the weight of bets that start with this block: half of all at the start, the other half spread over the
    horizon. Fires when the mean of the R reaches the limit.
    """

    __slots__ = ("_detectors", "_limit", "_margin", "_spread", "_weight")

    def __init__(self, margin: float, limit: float, horizon: float) -> None:
        self._margin, self._limit, self._spread = margin, limit, 0.5 / horizon
        self._weight = 0.5
        self._detectors = [0.0] * len(PSI)

    def close(self, block: _Block) -> bool:
        share = block.agent / (block.agent + block.legacy)
        weight, self._weight = self._weight + block.elapsed * self._spread, 0.0
        expected = block.agent_bad + block.legacy_bad + self._margin * block.legacy
        for index, psi in enumerate(PSI):
            growth = block.agent_bad * _LOG_PSI[index] - expected * log(1 + share * (psi - 1))
            grown = (self._detectors[index] + weight) * exp(min(growth, _MAX_GROWTH))
            self._detectors[index] = min(grown, _MAX_GROWTH * self._limit)
        return self._mean() >= self._limit

    def score(self) -> float:
        mean = self._mean()
        return min(1.0, log(mean) / log(self._limit)) if mean > 1 else 0.0

    def _mean(self) -> float:
        return sum(self._detectors) / len(self._detectors)


class _Fast:
    """The CUSUM with two keys. With q legacy's recent rate and `ref = q + d + 2 sqrt(q / (n + 20))`, for each
    alternative th in (1.2 ref, 2.5 ref, 0.1, 0.4, 0.95) up to 0.99, the absolute ones only where th >= 1.2 ref:

    key 1, against the reference: `C += f_c log(th/ref) + (n_c - f_c) log((1-th)/(1-ref))`;
    key 2, attribution, with pi the agent's share of the block's requests and `t0 = pi th + (1-pi) q`:
    `A += f_c log(th/t0) + (n_c-f_c) log((1-th)/(1-t0)) + f_l log(q/t0) + (n_l-f_l) log((1-q)/(1-t0))`.

    Both go back to 0 when C <= 0. Fires when C and A reach their thresholds together.
    """

    __slots__ = ("_attribution", "_bad", "_blame", "_cusum", "_margin", "_requests", "_threshold")

    def __init__(self, margin: float, threshold: float, blame: float) -> None:
        self._margin, self._threshold, self._blame = margin, threshold, blame
        self._requests = self._bad = 0.0  # legacy's history, forgetting
        self._cusum = [0.0] * (len(RELATIVE) + len(ABSOLUTE))
        self._attribution = [0.0] * (len(RELATIVE) + len(ABSOLUTE))

    def close(self, block: _Block) -> bool:
        fired = self._requests >= MIN_HISTORY and self._judge(block)
        self._learn(block)
        return fired

    def score(self) -> float:
        keys = zip(self._cusum, self._attribution, strict=True)
        return max(0.0, *(min(c / self._threshold, a / self._blame, 1.0) for c, a in keys))

    def _judge(self, block: _Block) -> bool:
        q = (self._bad + 1) / (self._requests + 20)
        ref = q + self._margin + 2 * sqrt(q / (self._requests + 20))
        fired = False
        for index, th in enumerate((*(ratio * ref for ratio in RELATIVE), *ABSOLUTE)):
            if th > MAX_ALTERNATIVE or th < RELATIVE[0] * ref * (1 - 1e-9):
                self._cusum[index] = self._attribution[index] = 0.0
                continue
            fired = self._bet(index, th, ref, q, block) or fired
        return fired

    def _bet(self, index: int, th: float, ref: float, q: float, block: _Block) -> bool:
        bad, good = block.agent_bad, block.agent - block.agent_bad
        cusum = self._cusum[index] + bad * log(th / ref) + good * log((1 - th) / (1 - ref))
        if cusum <= 0:
            self._cusum[index] = self._attribution[index] = 0.0
            return False
        share = block.agent / (block.agent + block.legacy)
        t0 = share * th + (1 - share) * q
        attribution = (
            self._attribution[index]
            + bad * log(th / t0)
            + good * log((1 - th) / (1 - t0))
            + block.legacy_bad * log(q / t0)
            + (block.legacy - block.legacy_bad) * log((1 - q) / (1 - t0))
        )
        self._cusum[index] = min(cusum, self._threshold + HEADROOM)
        self._attribution[index] = attribution
        return cusum >= self._threshold and attribution >= self._blame

    def _learn(self, block: _Block) -> None:
        """Add legacy's outcomes to its history, which forgets, but never below FULL_HISTORY requests."""
        if self._requests > FULL_HISTORY:
            kept = max(0.5 ** (block.elapsed / HALF_LIFE), FULL_HISTORY / self._requests)
            self._requests *= kept
            self._bad *= kept
        self._requests += block.legacy
        self._bad += block.legacy_bad
