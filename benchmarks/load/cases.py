"""What is measured and what is aimed at, as data."""

from dataclasses import dataclass
from enum import StrEnum


class Traffic(StrEnum):
    """What the proxy does with each request. Every proxy has one route for each, at `/` and this word."""

    PLAIN = "plain"
    SPLIT = "split"
    MIRROR = "mirror"
    PAIRS = "pairs"


class Agent(StrEnum):
    """What the agent is like: answers at once, answers after 200 ms, or nobody listens."""

    HEALTHY = "healthy"
    SLOW = "slow"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table. With `idle` clients no load is made: they send one request each and then hold still."""

    name: str
    says: str
    traffic: Traffic
    method: str = "POST"
    agent: Agent = Agent.HEALTHY
    idle: int = 0
    against: str = ""
    """The case that peers are compared by where they cannot do this one."""
    aiohttp: bool = True
    """Whether the plain aiohttp proxy takes part: it bounds no copies, so a failing agent would show only that."""

    @property
    def path(self) -> str:
        return f"/{self.traffic}/refunds"


CASES = (
    Case("plain-get", "plain, GET", Traffic.PLAIN, "GET"),
    Case("plain-post", "plain, POST 1 KiB", Traffic.PLAIN),
    Case("split-get", "split 10/90 by user, GET", Traffic.SPLIT, "GET"),
    Case("split-post", "split 10/90 by user, POST 1 KiB", Traffic.SPLIT),
    Case("mirror-get", "mirror of every request, GET", Traffic.MIRROR, "GET"),
    Case("mirror-post", "mirror of every request, POST 1 KiB", Traffic.MIRROR),
    Case("slow-agent", "mirror, agent answers after 200 ms", Traffic.MIRROR, agent=Agent.SLOW, aiohttp=False),
    Case("dead-agent", "mirror, agent is dead", Traffic.MIRROR, agent=Agent.DEAD, aiohttp=False),
    Case("pairs-get", "mirror, every pair recorded, GET", Traffic.PAIRS, "GET", against="mirror-get"),
    Case("pairs-post", "mirror, every pair recorded, POST 1 KiB", Traffic.PAIRS, against="mirror-post"),
    Case("idle", "1,000 idle client connections", Traffic.SPLIT, "GET", idle=1000),
)


class Measure(StrEnum):
    CPU = "CPU per request"
    P50 = "p50"
    MEMORY = "peak memory"


@dataclass(frozen=True, slots=True)
class Goal:
    """Crossfade's `measure` in `case`, over that of `peer` in `other`; without a peer it is an absolute figure in MiB.

    `must` and `aim` are upper bounds.
    """

    case: str
    measure: Measure
    must: float
    aim: float
    peer: str = ""
    other: str = ""


GOALS = (
    Goal("split-post", Measure.CPU, 2.0, 1.5, "nginx", "split-post"),
    Goal("split-post", Measure.CPU, 0.6, 0.5, "envoy", "split-post"),
    Goal("mirror-post", Measure.CPU, 0.85, 0.7, "nginx", "mirror-post"),
    Goal("mirror-post", Measure.CPU, 0.55, 0.4, "envoy", "mirror-post"),
    Goal("pairs-post", Measure.CPU, 1.0, 0.85, "nginx", "mirror-post"),
    Goal("slow-agent", Measure.P50, 1.1, 1.05, "crossfade", "mirror-post"),
    Goal("dead-agent", Measure.CPU, 1.0, 0.8, "crossfade", "mirror-post"),
    Goal("idle", Measure.MEMORY, 60, 45),
)


def choose(words: tuple[str, ...]) -> tuple[Case, ...]:
    """The cases whose names contain one of `words`; all of them without any."""
    return tuple(case for case in CASES if not words or any(word in case.name for word in words))
