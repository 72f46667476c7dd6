"""Requests one after the other, each with all that it must add to the counters."""

import time
from dataclasses import dataclass, field
from typing import Final

from proxy.model.snapshot import BUCKETS
from proxy.model.words import Arm
from proxy.routing.bucket import bucketer
from proxy.routing.override import sign
from tests.integration.soak.acts import ACTS
from tests.integration.soak.plan import Ask

SECRET: Final = "a secret of the tests"
Row = tuple[str, ...]
"""A family and its labels' values."""


def _users(*, inside: bool) -> list[str]:
    bucket = bucketer("s")
    return [user for user in map("u{}".format, range(100)) if (bucket(user.encode()) < BUCKETS // 2) is inside]


IN, IN_TOO, *_ = _users(inside=True)
"""The second one is for more bad outcomes than count of one user in a minute."""
OUT, *_ = _users(inside=False)


def answered(arm: str, mode: str, code: int = 200, route: str = "refunds") -> Row:
    return ("requests_total", route, arm, mode, str(code))


def fate(word: str) -> Row:
    return ("shadow_total", "refunds", word)


def because(reason: str) -> Row:
    return ("decisions_total", "refunds", reason)


def fell_back(reason: str) -> Row:
    return ("fallbacks_total", "refunds", reason)


LEGACY, CANARY, FALLBACK = answered("legacy", "legacy"), answered("agent", "canary"), answered("legacy", "fallback")
COPY, MIRRORED, NO_COPY = answered("agent", "shadow"), fate("mirrored"), fate("sampled_out")
BUCKET_IN, BUCKET_OUT = because("bucket_in"), because("bucket_out")
SHADOWED = (LEGACY, BUCKET_OUT, COPY, MIRRORED)


@dataclass(slots=True)
class Step:
    """One request, the status that the client sees (0: it leaves first), and what that adds. `bodies` are the answers
    with a body that an arm gave to it, by mode; `heads` the heads of answers, by upstream; `pair` the verdict."""

    name: str
    user: str
    adds: tuple[Row, ...]
    status: int = 200
    legacy: str = "length"
    agent: str = "length"
    method: str = "POST"
    size: int = 40
    route: str = "refunds"
    again: bool = False
    upgrade: bool = False
    late: bool = False
    """The body follows once the arm has the head, so that it is no longer all there when the arm fails."""
    headers: dict[str, str] = field(default_factory=dict)
    heads: tuple[str, ...] = ()
    bodies: tuple[str, ...] = ()
    pair: str = ""

    def pieces(self, number: int) -> list[bytes]:
        """Its head, then its body."""
        legacy, agent = ACTS[self.legacy], ACTS[self.agent]
        ask = Ask(number, self.route, self.method, self.size, self.user, legacy, agent)
        ask.again, ask.upgrade = self.again, self.upgrade
        head, *rest = ask.pieces()
        more = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        return [(head[:-2] + more.encode() + b"\r\n").replace(b"X-User: \r\n", b""), *rest]


def override(arm: Arm, seconds: int = 60) -> dict[str, str]:
    return {"X-Crossfade-Arm": sign(SECRET, "refunds", arm, int(time.time()) + seconds)}


def steps() -> list[Step]:
    """Drawn up late: an override has its time."""
    both, two = ("human", "agent"), ("legacy", "shadow")
    return [
        Step("the agent has a copy", OUT, SHADOWED, heads=both, bodies=two, pair="matched"),
        Step("without a body", OUT, (LEGACY, BUCKET_OUT, COPY, MIRRORED), method="HEAD", size=0, heads=both,
             pair="incomparable"),
        Step("not found", OUT, (answered("legacy", "legacy", 404), BUCKET_OUT, COPY, MIRRORED), 404, "missing",
             heads=both, bodies=two, pair="matched"),
        Step("the copy is reset", OUT, (LEGACY, BUCKET_OUT, fate("failed")), agent="reset", heads=("human",),
             bodies=("legacy",), pair="incomparable"),
        Step("the copy stalls", OUT, (LEGACY, BUCKET_OUT, fate("timed_out")), agent="stall", heads=("human",),
             bodies=("legacy",), pair="incomparable"),
        Step("too large to be copied", OUT, (LEGACY, BUCKET_OUT, fate("oversized")), size=150_000, heads=("human",),
             bodies=("legacy",)),
        Step("no key", "", (LEGACY, because("no_key"), COPY, MIRRORED), heads=both, bodies=two, pair="matched"),
        Step("the agent serves", IN, (CANARY, BUCKET_IN, NO_COPY), heads=("agent",), bodies=("canary",)),
        Step("204", IN, (answered("agent", "canary", 204), BUCKET_IN, NO_COPY), 204, agent="no_content",
             heads=("agent",)),
        Step("fallback: reset", IN, (FALLBACK, BUCKET_IN, NO_COPY, fell_back("reset")), agent="reset",
             heads=("human",), bodies=("fallback",), pair="incomparable"),
        Step("fallback: stall", IN, (FALLBACK, BUCKET_IN, NO_COPY, fell_back("timeout")), agent="stall",
             heads=("human",), bodies=("fallback",), pair="incomparable"),
        Step("fallback: 500", IN, (FALLBACK, BUCKET_IN, NO_COPY, fell_back("5xx")), agent="error", heads=both,
             bodies=("fallback",), pair="incomparable"),
        Step("fallback: escalation", IN, (FALLBACK, BUCKET_IN, NO_COPY, fell_back("escalation")), agent="escalate",
             heads=both, bodies=("fallback",), pair="incomparable"),
        Step("too large for a fallback", IN_TOO, (answered("agent", "canary", 500), BUCKET_IN, NO_COPY,
             ("fallbacks_missed_total", "refunds", "body_too_large")), 500, agent="error", size=100_000, late=True,
             heads=("agent",), bodies=("canary",)),
        Step("legacy once more: 503", OUT, (*SHADOWED, ("retries_total", "human", "503")), legacy="unavailable",
             again=True, heads=(*both, "human"), bodies=two, pair="matched"),
        Step("legacy once more: reset", OUT, (*SHADOWED, ("retries_total", "human", "reset")), legacy="half_head",
             again=True, heads=both, bodies=two, pair="matched"),
        Step("the agent once more", IN, (CANARY, BUCKET_IN, NO_COPY, ("retries_total", "agent", "reset")),
             agent="half_head", method="GET", size=0, heads=("agent",), bodies=("canary",)),
        Step("legacy is not HTTP", "", (answered("legacy", "legacy", 502, "plain"),), 502, "garbage", route="plain"),
        Step("legacy stalls", "", (answered("legacy", "legacy", 504, "plain"),), 504, "stall", route="plain"),
        Step("legacy answers 503", "", (answered("legacy", "legacy", 503, "plain"),), 503, "unavailable",
             route="plain", heads=("human",), bodies=("plain",)),
        Step("no route", "", (("refused_total", "no_route"),), 404, route="nowhere"),
        Step("a tester asks for the agent", OUT, (CANARY, because("override"), NO_COPY,
             ("overrides_total", "accepted")), headers=override(Arm.AGENT), heads=("agent",), bodies=("canary",)),
        Step("a tester asks for legacy", IN, (LEGACY, because("override"), NO_COPY, ("overrides_total", "accepted")),
             headers=override(Arm.LEGACY), heads=("human",), bodies=("legacy",)),
        Step("a pass that has run out", IN, (CANARY, BUCKET_IN, NO_COPY, ("overrides_total", "expired")),
             headers=override(Arm.LEGACY, -60), heads=("agent",), bodies=("canary",)),
        Step("a pass of nobody", IN, (CANARY, BUCKET_IN, NO_COPY, ("overrides_total", "invalid")),
             headers={"X-Crossfade-Arm": "legacy"}, heads=("agent",), bodies=("canary",)),
        Step("a client that leaves", OUT, (BUCKET_OUT, fate("mirrored"), COPY, ("client_gone_total", "refunds")), 0,
             "stall", heads=("agent",), bodies=("shadow",)),
        Step("a tunnel", IN, (answered("agent", "canary", 101), BUCKET_IN, fate("upgraded")), 101, method="GET",
             size=0, upgrade=True),
        Step("bytes that nobody asked for", "", (answered("legacy", "legacy", 200, "plain"),
             ("upstream_strays_total", "human")), legacy="stray", route="plain", heads=("human",), bodies=("plain",)),
    ]  # fmt: skip
