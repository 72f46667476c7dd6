"""Requests with a duration: what arrives, when it becomes known how it ended, and what a worker and its breaker see.

Where arms take different times to fail, it matters by what time an outcome is booked: that of its request's arrival, as
the product does, or that of its end, as everybody's metrics do.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from benchmarks.simulate.traffic import SLOT, Series, poisson
from proxy.model.rollouts import Arrived
from proxy.model.words import Arm


class Fate(NamedTuple):
    """What becomes of this share of an arm's requests: they end after `slots` slots, well or badly."""

    share: float
    slots: int
    bad: bool = False


class Phase(NamedTuple):
    """So many seconds of requests a second, and their fates."""

    seconds: float
    agent: float
    legacy: float
    agent_fates: tuple[Fate, ...]
    legacy_fates: tuple[Fate, ...]


class Ended(NamedTuple):
    """Requests of one arm that arrived in the same slot and end in the same slot."""

    arm: Arm
    arrived: int
    requests: int
    bad: bool


@dataclass(slots=True)
class Flights:
    """By slot: how many of each arm arrive, and which end. `taken`: which end of those that the agent failed and legacy
    took over, as it then does with its own; they are nobody's arrivals."""

    slots: int = 0
    agent: list[int] = field(default_factory=list)
    legacy: list[int] = field(default_factory=list)
    ended: dict[int, list[Ended]] = field(default_factory=lambda: defaultdict(list))
    taken: dict[int, list[Ended]] = field(default_factory=lambda: defaultdict(list))

    def rows(self, slot: int) -> tuple[Arrived, ...]:
        """What becomes known in a slot, as workers report it."""
        rows = [Arrived(slot, agent=self.agent[slot], legacy=self.legacy[slot])]
        for arm, arrived, requests, bad in self.ended.get(slot, ()):
            failed = requests if bad else 0
            if arm is Arm.AGENT:
                rows.append(Arrived(arrived, agent_ended=requests, agent_failed=failed))
            else:
                rows.append(Arrived(arrived, legacy_ended=requests, legacy_failed=failed))
        return tuple(rows)

    def by_end(self) -> Series:
        """All of it as a metric shows it: each request in the slot in which it ended."""
        series = Series()
        for slot in range(self.slots):
            counts = {(arm, bad): 0 for arm in Arm for bad in (False, True)}
            for ended in self.ended.get(slot, ()):
                counts[ended.arm, ended.bad] += ended.requests
            series.ends.append((slot + 1) * SLOT)
            series.agent_bad.append(counts[Arm.AGENT, True])
            series.agent.append(counts[Arm.AGENT, True] + counts[Arm.AGENT, False])
            series.legacy_bad.append(counts[Arm.LEGACY, True])
            series.legacy.append(counts[Arm.LEGACY, True] + counts[Arm.LEGACY, False])
        return series


def fly(rng: Random, phases: Sequence[Phase]) -> Flights:
    """The phases, one after the other."""
    flights = Flights()
    for phase in phases:
        first, count = flights.slots, round(phase.seconds / SLOT)
        flights.slots += count
        flights.agent += [0] * count
        flights.legacy += [0] * count
        for arm, rate, fates, arrivals in (
            (Arm.AGENT, phase.agent, phase.agent_fates, flights.agent),
            (Arm.LEGACY, phase.legacy, phase.legacy_fates, flights.legacy),
        ):
            for fate in fates:
                for slot, requests in enumerate(poisson(rng, rate * SLOT * fate.share, count), first):
                    if requests:
                        arrivals[slot] += requests
                        flights.ended[slot + fate.slots].append(Ended(arm, slot, requests, fate.bad))
    _take_over(rng, flights, [phase for phase in phases for _ in range(round(phase.seconds / SLOT))])
    return flights


def _take_over(rng: Random, flights: Flights, phases: Sequence[Phase]) -> None:
    """`phases`: of each slot."""
    for slot, phase in enumerate(phases):
        failed = sum(ended.requests for ended in flights.ended.get(slot, ()) if ended.arm is Arm.AGENT and ended.bad)
        shares = [fate.share for fate in phase.legacy_fates]
        if failed and shares:
            for fate in rng.choices(phase.legacy_fates, shares, k=failed):
                flights.taken[slot + fate.slots].append(Ended(Arm.LEGACY, slot, 1, fate.bad))


def failing(share: float, *, well: int, badly: int) -> tuple[Fate, ...]:
    """A share fails after `badly` slots, the others end well after `well` slots."""
    return (Fate(1 - share, well), Fate(share, badly, bad=True))
