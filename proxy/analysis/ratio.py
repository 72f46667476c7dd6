"""Is the split that came about the one that was asked for? (Sample ratio mismatch, by the Dirichlet-multinomial e-value
of Lindon and Malek 2020.) A chi-square test that is looked at again and again finds fault with a good split; this one
may be looked at all the time."""

from math import inf, lgamma, log
from typing import Final

THRESHOLD: Final = log(1000)
"""Evidence above it: the split is not the one asked for. A right one ever gets there in 1 of 1,000 rollouts."""

_WEIGHT: Final = 100.0
"""How near to the expected share the alternatives lie: as if so many users had been seen before."""


def log_evidence(users_agent: int, users_total: int, expected: float) -> float:
    """Log of the e-value against "each user was with the agent with a chance of `expected`" (0 to 1), with m = 100:
    `log B(mp + k, m(1-p) + n - k) - log B(mp, m(1-p)) - k log p - (n-k) log(1-p)`.

    Infinite where a user is in an arm that should have none.
    """
    users_legacy = users_total - users_agent
    if expected <= 0 or expected >= 1:
        return inf if (users_agent if expected <= 0 else users_legacy) else 0.0
    agent, legacy = _WEIGHT * expected, _WEIGHT * (1 - expected)
    seen = _log_beta(agent + users_agent, legacy + users_legacy) - _log_beta(agent, legacy)
    return seen - users_agent * log(expected) - users_legacy * log(1 - expected)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
