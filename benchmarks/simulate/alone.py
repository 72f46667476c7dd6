"""Topic 6: without a control: the test of one arm, and the worker's breaker by itself."""

from math import inf, log
from random import Random
from statistics import median

from benchmarks.simulate.crossfade import MARGIN
from benchmarks.simulate.findings import Findings, Times, bounded, few_enough, share
from benchmarks.simulate.healthy import DAY, GOAL
from benchmarks.simulate.traffic import SLOT, Series, Stretch, draw
from proxy.analysis.block import Block
from proxy.analysis.breaker import Breaker
from proxy.analysis.sequential import OneArm, TwoArms

BASES = (0.001, 0.01, 0.05)
RATES = (1.0, 50.0, 5_000.0)
FAULTS = (("total outage", 1.0), ("20 % fail", 0.2), ("one point more", 0.02))
WARM = 3_600.0
CONTROL = 0.05
"""The agent's share while there was a control, whose rate is the reference from then on."""

REQUESTS = 1_000_000
"""How many the breaker sees in a run with nothing wrong: a day at 11.6 requests/s."""


def one_arm(days: int, runs: int) -> Findings:
    found = Findings(
        "One arm: the agent serves all, held against legacy's rate of the last hour before",
        f"Days with nothing wrong ({days} each), and the median time to roll back after an hour ({runs} runs each).",
        ("what", "when", "found"),
    )
    hits = total = 0
    for rate in RATES:
        for base in BASES:
            for day in range(days):
                rng = Random(f"alone {rate} {base} {day}")
                row = 1.0 if rate >= 50 else SLOT
                hits += fires(draw(rng, [Stretch(DAY, rate, 0, base, 0, row)]), reference(rng, rate, base)) is not None
                total += 1
    found.add(
        "nothing wrong: days with a rollback", "1 to 5,000 requests/s, base 0.1 to 5 %", bounded(hits, total),
        goal=f"at most {GOAL:.1%}", met=few_enough(hits, total, GOAL),
    )  # fmt: skip
    for name, bad in FAULTS:
        for rate in (50.0, 1.0):
            times = Times(2 * 3_600.0)
            for run in range(runs):
                rng = Random(f"alone {name} {rate} {run}")
                stretches = [Stretch(WARM, rate, 0, 0.01, 0, 1.0), Stretch(times.limit, rate, 0, bad, 0)]
                times.add(fires(draw(rng, stretches), reference(rng, rate, 0.01)), WARM)
            found.add(name, f"{rate:g} requests/s, base 1 %", str(times))
    return found


def reference(rng: Random, rate: float, base: float) -> float:
    """What the product would go on with: the reference of its test of two arms, after an hour of a control."""
    test = TwoArms(MARGIN)
    legacy = rate / CONTROL - rate
    for _, *counts in draw(rng, [Stretch(WARM, rate, legacy, base, base, 10.0)]).rows():
        test.step(10.0, *counts)
    assert test.reference is not None  # an hour is enough
    return test.reference


def fires(series: Series, reference: float) -> float | None:
    """When the test of one arm fires."""
    test = OneArm(reference)
    before = 0.0
    for end, agent, bad, _, _ in series.rows():
        if agent:
            test.add(Block(end - before, agent, bad))
            before = end
            if bad and test.finding().fired:
                return end
    return None


def breaker(runs: int) -> Findings:
    found = Findings(
        "The worker's breaker by itself",
        f"Trips with nothing wrong, within {REQUESTS:,} requests ({runs} runs each); and requests until it trips"
        f" ({20 * runs} runs each, after 1,000 at 1 %).",
        ("what", "found"),
    )
    for bad in (0.01, 0.05, 0.1):
        tripped = sum(_trips(Random(f"breaker {bad} {run}"), bad, max(bad, 0.05)) < inf for run in range(runs))
        goal = GOAL * REQUESTS / (DAY * RATES[0])
        found.add(
            f"{bad:.0%} fail and that is normal: trips", share(tripped, runs),
            goal=f"at most {goal:.1%} of runs ({GOAL:.1%} a day at 1 request/s)", met=few_enough(tripped, runs, goal),
        )  # fmt: skip
    for bad, goal_requests in ((1.0, 50), (0.5, 0), (0.2, 0)):
        needed = median(_trips(Random(f"trip {bad} {run}"), bad, 0.01, before=1_000) for run in range(20 * runs))
        found.add(
            f"{bad:.0%} fail: requests until it trips (median)", f"{needed:,.0f}" if needed < inf else "never",
            goal=f"at most {goal_requests} (1 s at 50 requests/s)" if goal_requests else "",
            met=needed <= goal_requests if goal_requests else None,
        )  # fmt: skip
    return found


def _trips(rng: Random, bad: float, normal: float, before: int = 0) -> float:
    """After how many requests the breaker trips, of which `bad` fail; infinite for not at all. `before` that, as many
    fail as is normal."""
    breaker = Breaker(normal)
    requests = -before
    while requests < REQUESTS:
        share_bad = normal if requests < 0 else bad
        good = int(log(1 - rng.random()) / log(1 - share_bad)) if share_bad < 1 else 0
        if requests < 0:
            good = min(good, -requests)
        for _ in range(good):
            breaker.record(False)
        requests += good + 1
        if breaker.record(True) is not None:
            return max(requests, 1)
    return inf
