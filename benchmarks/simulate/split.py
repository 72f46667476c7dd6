"""Topic 5: is the split the one that was asked for? Looked at after every few users."""

from itertools import accumulate
from math import comb, inf
from random import Random
from statistics import median

from benchmarks.simulate.findings import Findings, bounded, few_enough, share
from proxy.analysis import ratio

USERS = 20_000
EVERY = 10
"""Users between two looks."""

RIGHT = (0.01, 0.05, 0.25, 0.5)
WRONG = ((0.05, 0.07), (0.25, 0.28), (0.5, 0.47))
"""Asked for, and what came about."""

GOAL = 0.001

_CHI_SQUARE = 10.828
"""Of one degree of freedom: p < 0.001."""

_FEWEST = 5
"""Users that chi-square needs to expect in each arm."""


def split(runs: int) -> Findings:
    found = Findings(
        "Sample ratio: right splits that are flagged, wrong ones that are found",
        f"Up to {USERS:,} users, looked at after every {EVERY}, {runs:,} runs each. Beside it a chi-square test at"
        " p < 0.001, looked at as often.",
        ("what", "Crossfade", "chi-square"),
    )
    for asked in RIGHT:
        ours, chi = _flagged(asked, asked, runs)
        hits, others = (sum(users < inf for users in flagged) for flagged in (ours, chi))
        found.add(
            f"{asked:.0%} asked for and drawn: flagged", bounded(hits, runs), share(others, runs),
            goal=f"at most {GOAL:.1%}", met=few_enough(hits, runs, GOAL),
        )  # fmt: skip
    for asked, came in WRONG:
        ours, chi = _flagged(asked, came, runs)
        found.add(f"{asked:.0%} asked for, {came:.0%} drawn: users until it is flagged", _users(ours), _users(chi))
    return found


def _users(flagged: list[float]) -> str:
    middle = median(flagged)
    return f"{middle:,.0f} (median)" if middle < inf else f"more than {USERS:,} (median)"


def _flagged(asked: float, came: float, runs: int) -> tuple[list[float], list[float]]:
    """Of each run, after how many users the product's test and chi-square flag it; infinite for never."""
    pairs = [_run(Random(f"split {asked} {came} {run}"), asked, came) for run in range(runs)]
    return [ours for ours, _ in pairs], [chi for _, chi in pairs]


def _run(rng: Random, asked: float, came: float) -> tuple[float, float]:
    weights = list(accumulate(comb(EVERY, k) * came**k * (1 - came) ** (EVERY - k) for k in range(EVERY + 1)))
    ours = chi = inf
    agent = 0
    for look, more in enumerate(rng.choices(range(EVERY + 1), cum_weights=weights, k=USERS // EVERY), 1):
        agent += more
        users = look * EVERY
        if ours == inf and ratio.log_evidence(agent, users, asked) > ratio.THRESHOLD:
            ours = users
        if chi == inf and chi_square(agent, users, asked) > _CHI_SQUARE:
            chi = users
        if ours < inf and chi < inf:
            break
    return ours, chi


def chi_square(agent: int, users: int, asked: float) -> float:
    """Pearson's statistic; 0 where it expects too few users in one of the arms."""
    if users * min(asked, 1 - asked) < _FEWEST:
        return 0.0
    return (agent - users * asked) ** 2 / (users * asked * (1 - asked))
