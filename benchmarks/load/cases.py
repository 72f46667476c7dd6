"""What is measured and what is aimed at, as data."""

from dataclasses import dataclass
from enum import StrEnum

KIB, MIB = 1 << 10, 1 << 20


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


class Kind(StrEnum):
    """What a case is about. It says how the case is measured, which peers take part and which table tells of it."""

    LOAD = "load"
    TLS = "tls"
    WORKERS = "workers"
    CROWD = "crowd"
    BODIES = "bodies"
    RATE = "rate"
    IDLE = "idle"


class Tls(StrEnum):
    """Where TLS is spoken."""

    NOWHERE = "nowhere"
    CLIENTS = "clients"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a table. Sizes are in bytes."""

    name: str
    says: str
    traffic: Traffic
    method: str = "POST"
    kind: Kind = Kind.LOAD
    agent: Agent = Agent.HEALTHY
    connections: int = 64
    body: int = KIB
    """Of a POST."""
    answer: int = 0
    """Of the answer's body; 0 is the fixed JSON of about 200 bytes."""
    tls: Tls = Tls.NOWHERE
    workers: int = 1
    rate: int = 0
    """Requests per second, whether or not they are answered; 0 is a closed loop."""
    rounds: int = 3
    """How often it is run where nobody says otherwise."""
    against: str = ""
    """The case that peers are compared by where they cannot do this one."""
    base: str = ""
    """The case that differs from this one in nothing but what its kind is about."""

    @property
    def path(self) -> str:
        if self.answer:
            return f"/{self.traffic}/bytes/{self.answer}"
        return f"/{self.traffic}/{'sink' if self.sent > KIB else 'refunds'}"

    @property
    def sent(self) -> int:
        """Bytes of a request's body."""
        return self.body if self.method == "POST" else 0


CASES = (
    Case("plain-get", "plain, GET", Traffic.PLAIN, "GET"),
    Case("plain-post", "plain, POST 1 KiB", Traffic.PLAIN),
    Case("split-get", "split 10/90 by user, GET", Traffic.SPLIT, "GET"),
    Case("split-post", "split 10/90 by user, POST 1 KiB", Traffic.SPLIT),
    Case("mirror-get", "mirror of every request, GET", Traffic.MIRROR, "GET"),
    Case("mirror-post", "mirror of every request, POST 1 KiB", Traffic.MIRROR),
    Case("slow-agent", "mirror, agent answers after 200 ms", Traffic.MIRROR, agent=Agent.SLOW),
    Case("dead-agent", "mirror, agent is dead", Traffic.MIRROR, agent=Agent.DEAD),
    Case("pairs-get", "mirror, every pair recorded, GET", Traffic.PAIRS, "GET", against="mirror-get"),
    Case("pairs-post", "mirror, every pair recorded, POST 1 KiB", Traffic.PAIRS, against="mirror-post"),
    Case(
        "tls-post",
        "split-post, TLS to clients",
        Traffic.SPLIT,
        kind=Kind.TLS,
        tls=Tls.CLIENTS,
        rounds=2,
        base="split-post",
    ),
    Case(
        "tls-both-post",
        "split-post, TLS on both sides",
        Traffic.SPLIT,
        kind=Kind.TLS,
        tls=Tls.BOTH,
        rounds=2,
        base="split-post",
    ),
    Case(
        "workers-2", "split-post, 2 workers", Traffic.SPLIT, kind=Kind.WORKERS, workers=2, rounds=2, base="split-post"
    ),
    Case("plain-1000", "plain-post", Traffic.PLAIN, kind=Kind.CROWD, connections=1000, rounds=2, base="plain-post"),
    Case("plain-10000", "plain-post", Traffic.PLAIN, kind=Kind.CROWD, connections=10_000, rounds=2, base="plain-post"),
    Case("split-1000", "split-post", Traffic.SPLIT, kind=Kind.CROWD, connections=1000, rounds=2, base="split-post"),
    Case("split-10000", "split-post", Traffic.SPLIT, kind=Kind.CROWD, connections=10_000, rounds=2, base="split-post"),
    Case("download-1k", "GET of 1 KiB", Traffic.PLAIN, "GET", Kind.BODIES, answer=KIB, rounds=2),
    Case("download-64k", "GET of 64 KiB", Traffic.PLAIN, "GET", Kind.BODIES, answer=64 * KIB, rounds=2),
    Case("download-1m", "GET of 1 MiB", Traffic.PLAIN, "GET", Kind.BODIES, answer=MIB, rounds=2),
    Case("upload-64k", "POST of 64 KiB", Traffic.PLAIN, kind=Kind.BODIES, body=64 * KIB, rounds=2),
    Case("upload-1m", "POST of 1 MiB", Traffic.PLAIN, kind=Kind.BODIES, body=MIB, rounds=2),
    Case("rate-2000", "split-post, 2,000 requests/s", Traffic.SPLIT, kind=Kind.RATE, rate=2000, rounds=2),
    Case("idle", "1,000 idle client connections", Traffic.SPLIT, "GET", Kind.IDLE, connections=1000, rounds=1),
)


class Measure(StrEnum):
    CPU = "CPU per request"
    P50 = "p50"
    THROUGHPUT = "throughput"
    MEMORY = "peak memory"


@dataclass(frozen=True, slots=True)
class Goal:
    """Crossfade's `measure` in `case`, over that of `peer` in `other`; without a peer it is an absolute figure in MiB.

    `must` and `aim` are upper bounds, of a throughput lower ones. Not every goal has an aim.
    """

    case: str
    measure: Measure
    must: float
    aim: float | None = None
    peer: str = ""
    other: str = ""

    def meets(self, figure: float, bound: float) -> bool:
        return figure >= bound if self.measure is Measure.THROUGHPUT else figure <= bound


GOALS = (
    Goal("split-post", Measure.CPU, 2.0, 1.5, "nginx", "split-post"),
    Goal("split-post", Measure.CPU, 0.6, 0.5, "envoy", "split-post"),
    Goal("mirror-post", Measure.CPU, 0.85, 0.7, "nginx", "mirror-post"),
    Goal("mirror-post", Measure.CPU, 0.55, 0.4, "envoy", "mirror-post"),
    Goal("pairs-post", Measure.CPU, 1.0, 0.85, "nginx", "mirror-post"),
    Goal("slow-agent", Measure.P50, 1.1, 1.05, "crossfade", "mirror-post"),
    Goal("dead-agent", Measure.CPU, 1.0, 0.8, "crossfade", "mirror-post"),
    Goal("plain-10000", Measure.CPU, 1.5, None, "crossfade", "plain-post"),
    Goal("split-10000", Measure.CPU, 1.5, None, "crossfade", "split-post"),
    Goal("download-1m", Measure.THROUGHPUT, 0.5, None, "nginx", "download-1m"),
    Goal("idle", Measure.MEMORY, 60, 45),
)


def choose(words: tuple[str, ...]) -> tuple[Case, ...]:
    """The cases whose names contain one of `words`; all of them without any."""
    return tuple(case for case in CASES if not words or any(word in case.name for word in words))
