"""A share of samples against the floor or ceiling that a gate sets it, as all gates ask it.

Passing and failing both take proof that stays valid although it is looked at on every tick. They cost differently: a
gate that passes wrongly moves on to a stage with its own gates and its guard; one that fails wrongly is a rollback by
itself. So the first may happen in one rollout of 20, the second in one of 1,000, and never on fewer than `min_samples`,
which may all be those of one user. Between the two a gate is inconclusive, and with no sample it always is.
"""

from math import log
from typing import Final, NamedTuple

from proxy.analysis import agreement
from proxy.model.words import Verdict

ALPHA: Final = 0.05
"""Chance that a gate passes wrongly, however often it is looked at."""
FALSE_FAILURE: Final = 0.001
"""Chance that a gate fails wrongly, however often it is looked at."""

_ROUND: Final = 100


class Share(NamedTuple):
    """`value` is the share that was seen, None without samples; `bound` what it surely reaches, None too where nothing
    is asked of it. 0 to 1."""

    verdict: Verdict
    value: float | None
    bound: float | None
    samples: int


def at_least(ok: int, bad: int, floor: float, min_samples: int) -> Share:
    """Is the share of `ok` at least `floor`? `bound` is its lower bound. Fails on no fewer than `min_samples`."""
    samples = ok + bad
    if samples <= 0:
        return Share(Verdict.INCONCLUSIVE, None, None, 0)
    verdict = agreement.verdict(ok, bad, floor, ALPHA, FALSE_FAILURE)
    if verdict is Verdict.FAILED and samples < min_samples:
        verdict = Verdict.INCONCLUSIVE
    bound = agreement.lower_bound(ok, bad, ALPHA) if floor > 0 else None  # it costs more than all else here
    return Share(verdict, ok / samples, bound, samples)


def at_most(bad: int, ok: int, ceiling: float, min_samples: int) -> Share:
    """Is the share of `bad` at most `ceiling`? `bound` is its upper bound. Otherwise as `at_least`."""
    verdict, _, bound, samples = at_least(ok, bad, 1 - ceiling, min_samples)
    return Share(verdict, bad / samples if samples else None, None if bound is None else 1 - bound, samples)


def to_go(ok: int, bad: int, floor: float, what: str) -> str:
    """What is missing until the share of `ok` is surely at least `floor`, for the end of a sentence: `, about 300 more
    pairs at this rate`. Empty where it is sure, or too little was seen to tell.

    The log of the e-value grows evenly with samples of one rate, so twice as many tell how fast.
    """
    samples = ok + bad
    if samples <= 0 or not 0 < floor < 1:
        return ""
    if ok <= floor * samples:
        return ", which takes a better rate"
    now, twice = agreement.log_evidence(ok, bad, floor), agreement.log_evidence(2 * ok, 2 * bad, floor)
    if twice <= max(now, 0.0) or now >= -log(ALPHA):
        return ""
    missing = samples * (-log(ALPHA) - now) / (twice - now)
    if missing > _ROUND:
        missing = round(missing / _ROUND) * _ROUND
    return f", about {max(1, round(missing))} more {what} at this rate"
