"""Topic 1: whole days in which nothing is wrong. Whoever rolls back is wrong."""

from collections.abc import Mapping
from itertools import product
from math import exp, pi, sin
from random import Random
from typing import NamedTuple

from benchmarks.simulate.crossfade import OURS
from benchmarks.simulate.findings import Findings, Hits
from benchmarks.simulate.peers import PEERS, Rule
from benchmarks.simulate.traffic import Stretch, draw

DAY = 86_400.0
RATES = (1.0, 50.0, 5_000.0)
SHARES = (0.01, 0.05, 0.25, 0.5)
BASES = (0.001, 0.01, 0.05)
GOAL = 0.001

_COARSE = 1.0
"""Seconds of a row from 50 requests/s on, to have more days in the time: the test judges blocks of any length."""
_STEP = 300.0
"""Seconds for which what moves stands still."""


class Setting(NamedTuple):
    """Agent's requests a second, the share of them that fails in both arms, and whether both move during the day."""

    rate: float
    base: float
    moving: bool

    def __str__(self) -> str:
        about, moving = ("about ", ", moving") if self.moving else ("", "")
        return f"{about}{self.rate:,.0f} requests/s, {about}{self.base:.1%} fail{moving}"


SETTINGS = tuple(Setting(rate, base, moving) for moving, rate, base in product((False, True), RATES, BASES))


def healthy(days: int, rules: Mapping[str, Rule] | None = None, settings: tuple[Setting, ...] = SETTINGS) -> Findings:
    """So many days of each setting and share. `rules` are judged, the first of them against the goal."""
    rules = rules or {**OURS, **PEERS}
    found = Findings(
        "Nothing wrong: days with a false rollback",
        f"The agent's requests are {', '.join(f'{split:.0%}' for split in SHARES)} of all, {days} days of each. Where"
        " rates move, traffic has its day and night, and both arms fail up to several times as often as usual.",
        ("when", *rules),
    )
    ours = next(iter(rules))
    total = {"nothing moves": Hits(rules), "rates move": Hits(rules), "all of them": Hits(rules)}
    for setting in settings:
        hits = Hits(rules)
        for split, day in product(SHARES, range(days)):
            series = draw(rng := Random(f"healthy {setting} {split} {day}"), _stretches(rng, setting, split))
            for name, rule in rules.items():
                hits.add(name, rule(series) is not None)
        found.add(str(setting), *hits.cells())
        for which in ("rates move" if setting.moving else "nothing moves", "all of them"):
            total[which].add_all(hits)
    for which, hits in total.items():
        if hits.runs[ours]:
            hits.against(found, GOAL, which, ours)
    return found


def _stretches(rng: Random, setting: Setting, split: float) -> list[Stretch]:
    rate, base, moving = setting
    row = _COARSE if rate >= 50 else 0.2
    if not moving:
        return [Stretch(DAY, rate, rate / split - rate, base, base, row)]
    stretches, wander, phase = [], 0.0, rng.uniform(0, 2 * pi)
    for number in range(round(DAY / _STEP)):
        wander = 0.9 * wander + rng.gauss(0, 0.3)
        now = rate * (1 + 0.6 * sin(2 * pi * number * _STEP / DAY + phase))
        bad = min(0.5, base * exp(wander))
        stretches.append(Stretch(_STEP, now, now / split - now, bad, bad, row))
    return stretches
