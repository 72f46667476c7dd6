"""Topic 2: a fault that both arms have. Whoever rolls back then blames the agent for what legacy does as well."""

from collections.abc import Mapping
from itertools import product
from random import Random
from typing import NamedTuple

from benchmarks.simulate.crossfade import OURS, guarded, tripped, two_arms
from benchmarks.simulate.findings import Findings, Hits
from benchmarks.simulate.flights import Flights, Phase, failing, fly
from benchmarks.simulate.peers import PEERS, Rule
from benchmarks.simulate.speed import PHASE, WARM
from benchmarks.simulate.traffic import SLOT, Series, Stretch, draw

BASE = 0.001
"""Low, so that Flagger is still there when the fault comes."""

FAULT, AFTER = 1_200.0, 300.0
GOAL = 0.001
DEPTHS = (0.02, 0.05, 0.2, 0.5, 1.0)
SETTINGS = ((50.0, 0.05), (50.0, 0.5), (1.0, 0.05), (1.0, 0.5))
"""Agent's requests a second, and its share."""


class Kind(NamedTuple):
    """How a shared fault goes on: for so many seconds each, this part of its depth."""

    name: str
    parts: tuple[float, ...]
    seconds: float


KINDS = (
    Kind("at once, for 20 minutes", (1.0,), FAULT),
    Kind("growing for 20 minutes", tuple(step / 40 for step in range(1, 41)), FAULT / 40),
    Kind("on and off each minute", (1.0, 0.0) * 10, FAULT / 20),
    Kind("on and off each second", (1.0, 0.0) * 60, 1.0),
)


def alike(runs: int, rules: Mapping[str, Rule] | None = None, kinds: tuple[Kind, ...] = KINDS) -> Findings:
    """Both arms fail at the same rate and as quickly. So many runs of each kind, depth and setting."""
    rules = rules or {**OURS, **PEERS}
    found = Findings(
        "Both arms fail alike: the agent is blamed",
        f"{', '.join(f'{depth:.0%}' for depth in DEPTHS)} of both arms' requests fail, {BASE:.1%} before; the agent's"
        f" are 50 and 1 a second, 5 and 50 % of all; {runs} runs of each. Counted are rollbacks from the fault's begin"
        f" to {AFTER / 60:.0f} minutes after its end, in runs without one before.",
        ("what", *rules),
    )
    total = Hits(rules)
    for kind in kinds:
        hits = Hits(rules)
        for depth, (rate, split), run in product(DEPTHS, SETTINGS, range(runs)):
            rng = Random(f"shared {kind.name} {depth} {rate} {split} {run}")
            began, series = _faulty(rng, kind, depth, rate, split)
            for name, rule in rules.items():
                _count(hits, name, rule(series), began)
        found.add(kind.name, *hits.cells())
        total.add_all(hits)
    total.against(found, GOAL, "all of them", next(iter(rules)))
    return found


def _count(hits: Hits, name: str, fired: float | None, began: float) -> None:
    """Whoever rolled back before the fault is not asked."""
    if fired is None or fired > began:
        hits.add(name, fired is not None)


def _faulty(rng: Random, kind: Kind, depth: float, rate: float, split: float) -> tuple[float, Series]:
    legacy = rate / split - rate
    warm = WARM + round(rng.uniform(0, PHASE))
    stretches = [Stretch(warm, rate, legacy, BASE, BASE, 1.0)]
    for part in kind.parts:
        bad = min(1.0, BASE + depth * part)
        stretches.append(Stretch(kind.seconds, rate, legacy, bad, bad, SLOT))
    return warm, draw(rng, [*stretches, Stretch(AFTER, rate, legacy, BASE, BASE, 1.0)])


class Timeout(NamedTuple):
    """How long it takes each arm to fail, in slots."""

    name: str
    agent: int
    legacy: int


TIMEOUTS = (
    Timeout("both at once", 0, 0),
    Timeout("agent at once, legacy after 0.4 s", 0, 2),
    Timeout("agent at once, legacy after 5 s", 0, 25),
    Timeout("agent at once, legacy after 30 s", 0, 150),
    Timeout("agent after 30 s, legacy at once", 150, 0),
)
GUARD, BREAKER = "guard", "worker's breaker"
USUAL = 1
"""Slots that an answer takes otherwise."""

BEFORE, DURING, THEN = 120.0, 60.0, 60.0
"""Seconds of a run: before, with, and after the fault."""


def timeouts(runs: int, kinds: tuple[Timeout, ...] = TIMEOUTS) -> Findings:
    """The same share of both arms' requests fails, but not as quickly. So many runs of each kind, depth and setting."""
    names = (GUARD, "booked by completion", BREAKER, *PEERS)
    found = Findings(
        "Both arms fail, one of them by timeout: the agent is blamed",
        f"20 and 100 % of both arms' requests fail for {DURING:.0f} s; the agent's are 50 and 1 a second, 5 and 50 % of"
        f" all; {runs} runs of each. The guard is the product's, with its ledger of slots. Beside it its test with"
        " outcomes booked when they come, and the breaker of a worker, which the guard does not hear of.",
        ("what", *names),
    )
    total = Hits(names)
    for kind in kinds:
        hits = Hits(names)
        for depth, (rate, split), run in product((0.2, 1.0), SETTINGS, range(runs)):
            rng = Random(f"timeout {kind.name} {depth} {rate} {split} {run}")
            flights = _flights(rng, kind, depth, rate, split)
            series = flights.by_end()
            rules = (
                guarded(flights),
                two_arms(series),
                tripped(flights, rng),
                *(rule(series) for rule in PEERS.values()),
            )
            for name, fired in zip(names, rules, strict=True):
                _count(hits, name, fired, BEFORE)
        found.add(kind.name, *hits.cells())
        total.add_all(hits)
    for rule in (GUARD, BREAKER):
        total.against(found, GOAL, "all of them", rule)
    return found


def _flights(rng: Random, kind: Timeout, depth: float, rate: float, split: float) -> Flights:
    usual = failing(BASE, well=USUAL, badly=USUAL)
    agent = failing(depth, well=USUAL, badly=kind.agent)
    legacy = failing(depth, well=USUAL, badly=kind.legacy)
    rest = rate / split - rate
    return fly(
        rng,
        [
            Phase(BEFORE, rate, rest, usual, usual),
            Phase(DURING, rate, rest, agent, legacy),
            Phase(THEN, rate, rest, usual, usual),
        ],
    )
