"""Whose fault is it? What the breaker asks before it takes the traffic from an agent: whether legacy, asked at the same
time, does well.

The attribution of the guard's fast rule (`cusum`), over the slots in which the requests arrived. With th the share that
the agent is taken to fail, q the normal one, n agent and a legacy requests of which k and f were bad, pi = n / (n + a)
and `t0 = pi th + (1 - pi) q`:

`A = k log(th/t0) + (n - k) log((1-th)/(1-t0)) + f log(q/t0) + (a - f) log((1-q)/(1-t0))`

at its largest over the stretches that begin with the agent's first failure: legacy's latest may not be known yet.
"""

from collections.abc import Mapping
from math import log
from typing import Final, NamedTuple

PROOF: Final = log(1e4)
"""A fault of both arms is attributed to the agent once in ten thousand times."""


class Slot(NamedTuple):
    """Of the requests that arrived within one slot: how many are known to be good, and how many to be bad."""

    good: int = 0
    bad: int = 0


def attribution(
    agent: Mapping[int, Slot], legacy: Mapping[int, Slot], since: int, now: int, th: float, q: float
) -> float:
    """A, at its largest, from slot `since` to `now`. 0 where one arm is not known at all, or th is no worse than q."""
    if th <= q:
        return 0.0
    n = k = a = f = 0
    best = 0.0
    for number in range(since, now + 1):
        mine, theirs = agent.get(number), legacy.get(number)
        if mine is not None:
            n, k = n + mine.good + mine.bad, k + mine.bad
        if theirs is not None:
            a, f = a + theirs.good + theirs.bad, f + theirs.bad
        if n and a:
            best = max(best, _attribution(n, k, a, f, th, q))
    return best


def _attribution(n: int, k: int, a: int, f: int, th: float, q: float) -> float:
    pi = n / (n + a)
    t0 = pi * th + (1 - pi) * q
    agents = k * log(th / t0) + (n - k) * log((1 - th) / (1 - t0))
    return agents + f * log(q / t0) + (a - f) * log((1 - q) / (1 - t0))
