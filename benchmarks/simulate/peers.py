"""The rules of others, from their documentation, on the same traffic. Each says when it would roll back, or None.

All get their most favourable reading: measurements are exact and there at once, and nothing but the rule itself waits.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from math import log

from benchmarks.simulate.traffic import Series

_EPSILON = 1e-6

FLAGGER_INTERVAL, FLAGGER_CHECKS, FLAGGER_SUCCESS = 60.0, 5, 0.99
ARGO_INTERVAL, ARGO_FAILURES, ARGO_SUCCESS, SCRAPE = 300.0, 3, 0.95, 15.0
BREAKER_WINDOW, BREAKER_REQUESTS, BREAKER_SHARE = 10.0, 100, 0.5
MSPRT_ALPHA, MSPRT_TAU, MSPRT_LOOK = 0.001, 0.01, 1.0

Rule = Callable[[Series], float | None]
"""Seconds from the start of the series until it rolls back."""


def flagger(series: Series) -> float | None:
    """Flagger, docs.flagger.app/usage/how-it-works and /usage/metrics: the built-in metric `request-success-rate` with
    `thresholdRange.min: 99`, `interval: 1m` and `threshold: 5`. A check asks for the rate of the last minute. Failed
    checks add up over the analysis; the fifth rolls back."""
    failed = 0
    for at, requests, bad in _windows(series, FLAGGER_INTERVAL, FLAGGER_INTERVAL):
        failed += requests > 0 and 1 - bad / requests < FLAGGER_SUCCESS
        if failed >= FLAGGER_CHECKS:
            return at
    return None


def argo(series: Series) -> float | None:
    """Argo Rollouts, the example of its documentation (analysis/prometheus): `interval: 5m`, `successCondition:
    result[0] >= 0.95`, `failureLimit: 3`, so the fourth failed measurement. Its query is `irate(...[5m])`, which looks
    at the last two scrapes, 15 s apart by Istio's default."""
    failed = 0
    for at, requests, bad in _windows(series, ARGO_INTERVAL, SCRAPE):
        failed += requests > 0 and 1 - bad / requests < ARGO_SUCCESS
        if failed > ARGO_FAILURES:
            return at
    return None


def breaker(series: Series) -> float | None:
    """A plain circuit breaker, looked at all the time: half of at least 100 requests within 10 s failed."""
    requests, bad = _cumulated(series.agent), _cumulated(series.agent_bad)
    start = 0
    for row, end in enumerate(series.ends, 1):
        while series.ends[start] <= end - BREAKER_WINDOW + _EPSILON:
            start += 1
        seen = requests[row] - requests[start]
        if seen >= BREAKER_REQUESTS and bad[row] - bad[start] >= BREAKER_SHARE * seen:
            return end
    return None


def msprt(series: Series) -> float | None:
    """The mixture sequential probability ratio test of Johari, Pekelis and Walsh 2015 for two rates: the difference is
    mixed over a normal of deviation tau, here a point, variances are plugged in. One-sided, looked at each second."""
    agent, agent_bad = _cumulated(series.agent), _cumulated(series.agent_bad)
    legacy, legacy_bad = _cumulated(series.legacy), _cumulated(series.legacy_bad)
    threshold = -log(MSPRT_ALPHA)
    for at, row in _looks(series, MSPRT_LOOK):
        if not (agent[row] and legacy[row]):
            continue
        mine, other = agent_bad[row] / agent[row], legacy_bad[row] / legacy[row]
        variance = mine * (1 - mine) / agent[row] + other * (1 - other) / legacy[row]
        if mine > other and variance > 0 and _evidence(mine - other, variance) >= threshold:
            return at
    return None


def _evidence(difference: float, variance: float) -> float:
    """Log of the mixture's likelihood ratio."""
    tau = MSPRT_TAU**2
    return 0.5 * log(variance / (variance + tau)) + tau * difference**2 / (2 * variance * (variance + tau))


PEERS: dict[str, Rule] = {"mSPRT": msprt, "Flagger": flagger, "Argo": argo, "breaker, 50 %": breaker}


def _windows(series: Series, every: float, window: float) -> Iterator[tuple[float, int, int]]:
    """At each multiple of `every`: when, and the agent's requests and bad ones within the `window` before."""
    requests, bad = _cumulated(series.agent), _cumulated(series.agent_bad)
    for at, row in _looks(series, every):
        start = bisect_right(series.ends, at - window + _EPSILON)
        yield at, requests[row] - requests[start], bad[row] - bad[start]


def _looks(series: Series, every: float) -> Iterator[tuple[float, int]]:
    """Each multiple of `every`, and how many rows have ended by then."""
    for number in range(1, int((series.length + _EPSILON) / every) + 1):
        yield number * every, bisect_right(series.ends, number * every + _EPSILON)


def _cumulated(column: list[int]) -> list[int]:
    """Of the rows before each, and of all."""
    return list(accumulate(column, initial=0))
