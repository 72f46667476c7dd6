"""Topic 3: how soon a fault of the agent alone is rolled back, after an hour in which nothing was wrong."""

from collections.abc import Mapping
from functools import partial
from math import log
from random import Random
from statistics import NormalDist
from typing import NamedTuple

from benchmarks.simulate.crossfade import OURS, guarded, tripped, two_arms
from benchmarks.simulate.findings import Findings, Times, seconds
from benchmarks.simulate.flights import Phase, failing, fly
from benchmarks.simulate.peers import PEERS, Rule
from benchmarks.simulate.traffic import SLOT, Series, Stretch, draw

BASE = 0.01
WARM, PHASE = 3_600.0, 300.0
"""Seconds before the fault: at least, and up to how many more, so that nobody's interval happens to begin with it."""

_SPREAD = 0.5
_SLOW = 0.05
"""Times are lognormal with this deviation of their logarithm; T is where legacy has this share of slower ones."""


WARMED, THEN, QUICK = 60.0, 120.0, 1
"""Seconds before and after the fault where the whole guard runs, which takes longer; slots of a quick answer."""


class Fault(NamedTuple):
    """The agent's share of bad ones becomes `bad`. `goal` is the median that must be reached (seconds), 0 without."""

    name: str
    bad: float
    rate: float
    split: float
    goal: float
    base: float = BASE
    minutes: float = 30.0
    row: float = SLOT


FAULTS = (
    *(Fault("total outage", 1.0, 50, split, 1.0) for split in (0.01, 0.05, 0.25)),
    *(Fault("total outage", 1.0, 1, split, 6.0) for split in (0.01, 0.05, 0.25)),
    *(Fault("20 % fail", 0.2, 50, split, 2.0) for split in (0.05, 0.25)),
    *(Fault("20 % fail", 0.2, 1, split, 60.0) for split in (0.05, 0.25)),
    *(Fault("one point more", BASE + 0.01, 50, split, 240.0) for split in (0.05, 0.25)),
    Fault("one point more", BASE + 0.01, 1, 0.05, 0.0, minutes=360, row=1.0),
    Fault("total outage, base 0.1 %", 1.0, 1, 0.05, 6.0, base=0.001),
)


def slower(times: float) -> float:
    """The share of answers slower than T where all take so many times as long as legacy's."""
    normal = NormalDist()
    return 1 - normal.cdf(normal.inv_cdf(1 - _SLOW) - log(times) / _SPREAD)


LATENCIES = tuple(
    Fault(f"{times:g} x as slow", slower(times), 50, 0.05, goal, base=_SLOW)
    for times, goal in ((1.5, 6.0), (1.2, 41.0), (1.1, 233.0))
)


def speed(runs: int, rules: Mapping[str, Rule] | None = None, faults: tuple[Fault, ...] = FAULTS) -> Findings:
    """So many runs of each fault. `rules` are judged, the first of them against the goals."""
    rules = rules or {**OURS, **PEERS}
    found = Findings(
        "Time to roll back: the agent fails, legacy does not",
        f"Median of {runs} runs from the fault to the end of the slot in which the rule fires, after an hour or more"
        f" with a base of {BASE:.0%} in both arms.",
        ("what", "when", *rules),
    )
    for fault in faults:
        times = _run(fault, runs, rules)
        ours = next(iter(times.values())).median
        met = ours <= fault.goal + 1e-6 if fault.goal else None
        goal = f"at most {seconds(fault.goal)}" if fault.goal else ""
        found.add(fault.name, _when(fault), *map(str, times.values()), goal=goal, met=met)
    return found


def latency(runs: int) -> Findings:
    """The test of "slower than T" on answers' times that are all some times as long."""
    found = Findings(
        "Time to roll back: the agent is slower",
        f"Median of {runs} runs. Times are lognormal (deviation of the logarithm {_SPREAD:g}); {_SLOW:.0%} of legacy's"
        " answers are slower than T. With the default margin of 1 %, and with 0.2 %.",
        ("what", "when", "margin 1 %", "margin 0.2 %"),
    )
    for fault in LATENCIES:
        times = _run(fault, runs, {str(margin): partial(two_arms, margin=margin) for margin in (0.01, 0.002)})
        found.add(
            f"{fault.name}: {fault.bad:.1%} slower than T", _when(fault), *map(str, times.values()),
            goal=f"at most {seconds(fault.goal)} with 0.2 %", met=times["0.002"].median <= fault.goal,
        )  # fmt: skip
    return found


def answering(runs: int) -> Findings:
    """The same faults by the whole guard, and by a worker's breaker: what is open of legacy's may yet go wrong."""
    found = Findings(
        "Time to roll back, by how long legacy takes to answer",
        f"Median of {runs} runs with the product's guard and its ledger, and with the breaker of a worker that serves"
        f" all. 50 requests/s, share 5 %; the agent fails at once. {WARMED:.0f} s before the fault nothing is wrong.",
        ("what", "when", "guard", "worker's breaker"),
    )
    for name, bad, goal in (("total outage", 1.0, 1.0), ("20 % fail", 0.2, 2.0)):
        for slots in (1, 5, 10, 100):
            times = _answered(bad, slots, runs)
            found.add(
                name, f"legacy answers in {slots * SLOT:g} s", *map(str, times),
                goal=f"the sooner one: at most {seconds(goal)}" if slots <= QUICK else "",
                met=min(time.median for time in times) <= goal + 1e-6 if slots <= QUICK else None,
            )  # fmt: skip
    return found


def _answered(bad: float, slots: int, runs: int) -> tuple[Times, Times]:
    """By the guard, and by the breaker."""
    guard, worker = Times(THEN), Times(THEN)
    usual, faulty = failing(BASE, well=slots, badly=slots), failing(bad, well=1, badly=0)
    for run in range(runs):
        rng = Random(f"answering {bad} {slots} {run}")
        flights = fly(rng, [Phase(WARMED, 50, 950, usual, usual), Phase(THEN, 50, 950, faulty, usual)])
        guard.add(guarded(flights), WARMED)
        worker.add(tripped(flights, rng), WARMED)
    return guard, worker


def _run(fault: Fault, runs: int, rules: Mapping[str, Rule]) -> dict[str, Times]:
    times = {name: Times(fault.minutes * 60) for name in rules}
    for run in range(runs):
        began, series = faulty(Random(f"speed {fault} {run}"), fault)
        for name, rule in rules.items():
            times[name].add(rule(series), began)
    return times


def faulty(rng: Random, fault: Fault) -> tuple[float, Series]:
    """When the fault begins, and the series."""
    legacy = fault.rate / fault.split - fault.rate
    warm = WARM + round(rng.uniform(0, PHASE))
    return warm, draw(
        rng,
        [
            Stretch(warm, fault.rate, legacy, fault.base, fault.base, 1.0),
            Stretch(fault.minutes * 60, fault.rate, legacy, fault.bad, fault.base, fault.row),
        ],
    )


def _when(fault: Fault) -> str:
    return f"{fault.rate:g} requests/s, share {fault.split:.0%}"
