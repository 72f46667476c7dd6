"""Is a share at least a floor, or above a ceiling? Tests that stay valid although they are looked at all the time.

Both are e-values: a bet against the hypothesis that starts at 1 and, while the hypothesis holds, exceeds 1/alpha with a
chance of at most alpha, ever (Ville's inequality). Several bets are averaged, which keeps that. Sources: testing by
betting, Waudby-Smith and Ramdas 2020; Ramdas, Grünwald, Vovk and Shafer 2023.

Counts are whole samples, shares 0 to 1, `alpha` the chance of a wrong claim.
"""

from functools import lru_cache
from math import exp, inf, log
from typing import Final

from proxy.model.words import Verdict

_BETS: Final = (0.8, 0.6, 0.4, 0.2, 0.1)
"""Alternatives to a floor: mismatches are this share of what the floor allows."""

_ODDS: Final = (1.2, 1.5, 2.0, 4.0, 8.0)
"""Alternatives to a ceiling: bad samples are this many times what the ceiling allows."""

_PRECISION: Final = 5e-5


def log_evidence(ok: int, bad: int, floor: float) -> float:
    """Log of the e-value against "the share of ok is at most `floor`".

    The mean over c of `((1 - (1 - floor) c) / floor)^ok * c^bad`. It falls as `floor` rises; infinite at 0 where
    anything was ok, never above 0 at 1.
    """
    if floor <= 0:
        return inf if ok else 0.0
    return _log_mean([ok * log((1 - (1 - floor) * bet) / floor) + bad * log(bet) for bet in _BETS])


def log_excess(bad: int, ok: int, ceiling: float) -> float:
    """Log of the e-value against "the share of bad is at most `ceiling`": the mean over k of the likelihood ratio of k
    times the ceiling, for those k that leave a share below 1."""
    if ceiling <= 0:
        return inf if bad else 0.0
    terms = [bad * log(odds) + ok * log((1 - odds * ceiling) / (1 - ceiling)) for odds in _ODDS if odds * ceiling < 1]
    return _log_mean(terms) if terms else 0.0


def verdict(ok: int, bad: int, floor: float, alpha: float, fail_alpha: float | None = None) -> Verdict:
    """Passed where the share of ok is above `floor` with confidence 1 - alpha, failed where it is below with confidence
    1 - fail_alpha (the same, where that is left out: a false failure may cost more than a false promotion).

    A ceiling for the share of bad is a floor of 1 - ceiling for the others; 1 - `lower_bound` is its upper bound.
    """
    if floor <= 0 or log_evidence(ok, bad, floor) >= -log(alpha):
        return Verdict.PASSED
    if exceeds(bad, ok, 1 - floor, fail_alpha or alpha):
        return Verdict.FAILED
    return Verdict.INCONCLUSIVE


def exceeds(bad: int, ok: int, ceiling: float, alpha: float) -> bool:
    """The share of bad is above `ceiling`, with confidence 1 - alpha."""
    return log_excess(bad, ok, ceiling) >= -log(alpha)


@lru_cache(maxsize=4096)
def lower_bound(ok: int, bad: int, alpha: float) -> float:
    """The largest floor that `verdict` passes, to 1e-4 from below; 0 without samples. By bisection.

    Remembered, because the control process asks five times a second and most routes have nothing new.
    """
    if ok <= 0:
        return 0.0
    threshold = -log(alpha)
    rejected, kept = 0.0, 1.0
    while kept - rejected > _PRECISION:
        middle = (rejected + kept) / 2
        if log_evidence(ok, bad, middle) >= threshold:
            rejected = middle
        else:
            kept = middle
    return rejected


def _log_mean(terms: list[float]) -> float:
    """Log of the mean of the exponentials, without overflow."""
    most = max(terms)
    return most + log(sum([exp(term - most) for term in terms]) / len(terms))
