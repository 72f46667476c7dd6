"""Topic 4: promotion by agreement, looked at after every pair."""

from collections.abc import Callable, Iterator
from functools import cache
from math import log
from random import Random
from statistics import median

from benchmarks.simulate.findings import Findings, bounded, few_enough
from proxy.analysis import agreement
from proxy.model.words import Verdict

ALPHA = 0.05
FAIL_ALPHA = 0.001
"""What a failed gate needs."""

PAIRS = 20_000
"""How long an agent that is not good enough may try."""

NEEDED = ((0.95, 0.97, 600), (0.95, 0.98, 242), (0.95, 0.99, 127), (0.90, 0.94, 290), (0.90, 0.96, 119))
"""Floor, the agent's true agreement, and the median of pairs that is the goal."""


def promotion(runs: int) -> Findings:
    found = Findings(
        "Agreement: wrong promotions, and pairs needed for right ones",
        f"Looked at after every pair, confidence {1 - ALPHA:.0%}, {runs:,} runs each. Wrong ones: true agreement is the"
        f" floor, up to {PAIRS:,} pairs. A gate fails at {FAIL_ALPHA:.1%}.",
        ("what", "found"),
    )
    for floor in (0.95, 0.90):
        promoted = sum(_promoted(Random(f"floor {floor} {run}"), floor, floor) is not None for run in range(runs))
        found.add(
            f"true {floor:.0%} at floor {floor:.0%}: promoted", bounded(promoted, runs),
            goal=f"at most {ALPHA:.0%}", met=few_enough(promoted, runs, ALPHA),
        )  # fmt: skip
        failed = sum(_failed(Random(f"failed {floor} {run}"), floor, floor) for run in range(runs))
        found.add(
            f"true {floor:.0%} at floor {floor:.0%}: failed", bounded(failed, runs),
            goal=f"at most {FAIL_ALPHA:.1%}", met=few_enough(failed, runs, FAIL_ALPHA),
        )  # fmt: skip
    for floor, true, goal in NEEDED:
        needed = median(_promoted(Random(f"{floor} {true} {run}"), true, floor) or PAIRS for run in range(runs))
        found.add(
            f"true {true:.0%} at floor {floor:.0%}: pairs needed", f"{needed:,.0f}",
            goal=f"at most {goal}", met=needed <= goal,
        )  # fmt: skip
    return found


def _promoted(rng: Random, true: float, floor: float) -> int | None:
    """After how many pairs the agent is promoted. Every pair is looked at: between two mismatches evidence only grows,
    so that the first moment at which the product's rule passes is known from the matches that it needs."""
    for ok, bad, further in _pairs(rng, true):
        needed = _matches_needed(bad, floor)
        if ok + further >= needed:
            return max(ok, needed) + bad
    return None


def _failed(rng: Random, true: float, floor: float) -> bool:
    """Whether the gate fails at any time; it can do so only with a mismatch, and the fewer matches, the sooner."""
    return any(ok <= _matches_that_fail(bad, floor) for ok, bad, _ in _pairs(rng, true))


def _pairs(rng: Random, true: float) -> Iterator[tuple[int, int, int]]:
    """After each mismatch, and at the start: matches, mismatches, and the matches until the next mismatch."""
    ok = bad = 0
    while ok + bad < PAIRS:
        further = min(int(log(1 - rng.random()) / log(true)), PAIRS - ok - bad)
        yield ok, bad, further
        ok += further
        bad += 1


@cache
def _matches_needed(bad: int, floor: float) -> int:
    """The fewest matches with which the product's rule passes."""
    return _first(lambda ok: agreement.verdict(ok, bad, floor, ALPHA) is Verdict.PASSED)


@cache
def _matches_that_fail(bad: int, floor: float) -> int:
    """The most matches with which the product's rule fails, -1 where it does with none."""
    return _first(lambda ok: not agreement.exceeds(bad, ok, 1 - floor, FAIL_ALPHA)) - 1


def _first(holds: Callable[[int], bool]) -> int:
    """The first number from 0 on for which it holds, and it holds for all that follow."""
    if holds(0):
        return 0
    low, high = 0, 1
    while not holds(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
