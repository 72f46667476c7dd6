"""What the clients will do, drawn from a seed: the same seed and count give the same visits."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.integration.soak.acts import BAD, ESCALATE, GOOD, Act, request_body

USERS: Final = 200
LEGACY_FAULTS: Final = 0.15
AGENT_FAULTS: Final = 0.06
"""Of the agent's acts. With more its breaker would trip, as it should, and no canary would be left."""
ESCALATIONS: Final = 0.06
SIZES: Final = (0, 40, 1_000, 60_000, 100_000, 150_000)
SIZE_WEIGHTS: Final = (25, 40, 20, 5, 6, 4)
_HEAD_ACTS: Final = frozenset({"length", "chunked", "close", "no_content", "interim", "reset", "stall", "error"})
_REPEATABLE: Final = frozenset({"GET", "HEAD", "PUT"})
_FIRST_CHUNKS: Final = 10
"""Chunks of a chunked request: the first ones tiny, one each; then the rest."""

KINDS: Final = {
    "ask": 55,
    "pipeline": 10,
    "half_close": 8,
    "old": 5,
    "leave": 8,
    "tunnel": 6,
    "malformed": 3,
    "nowhere": 3,
    "slow_body": 1,
    "slow_head": 1,
}  # fmt: skip
"""What a visit may be, and how often."""


@dataclass(slots=True)
class Ask:
    """One request. `acts` are what either arm will do with it."""

    number: int
    route: str
    method: str
    size: int
    user: str
    legacy: Act
    agent: Act
    chunked: bool = False
    again: bool = False
    """It has an Idempotency-Key."""
    expects: bool = False
    old: bool = False
    upgrade: bool = False

    @property
    def repeatable(self) -> bool:
        return self.method in _REPEATABLE or self.again

    def act(self, arm: str) -> Act:
        return self.legacy if arm == "legacy" else self.agent

    def head(self) -> bytes:
        version = "1.0" if self.old else "1.1"
        lines = [
            f"{self.method} /{self.route}/{self.number} HTTP/{version}", "Host: shop.example",
            f"X-Number: {self.number}", f"X-Request-Id: n{self.number}", f"X-User: {self.user}",
            f"X-Legacy-Act: {self.legacy.name}", f"X-Agent-Act: {self.agent.name}", f"X-Size: {self.size}",
        ]  # fmt: skip
        if self.again:
            lines.append(f"Idempotency-Key: k{self.number}")
        if self.expects:
            lines.append("Expect: 100-continue")
        if self.upgrade:
            lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self.size:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    @property
    def body(self) -> bytes:
        return request_body(self.number, self.size)

    def pieces(self) -> list[bytes]:
        """The request as it is to be written."""
        if not self.chunked:
            return [self.head(), self.body]
        body = self.body
        parts = [body[at : at + 1] for at in range(min(_FIRST_CHUNKS, len(body)))] + [body[_FIRST_CHUNKS:]]
        return [self.head(), *(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part), b"0\r\n\r\n"]


@dataclass(slots=True)
class Visit:
    """What one client does on one connection. `patience`: seconds, where it leaves before its answer, after its
    request was seen; `rudely`: by a reset."""

    kind: str
    asks: list[Ask]
    patience: float = 0.0
    rudely: bool = False


class Planner:
    """Draws visits. `number` is that of the last request."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.number = 0

    def visits(self, requests: int) -> list[Visit]:
        """Enough of them that there are at least so many requests."""
        drawn: list[Visit] = []
        end = self.number + requests
        while self.number < end:
            drawn.append(self._visit())
        return drawn

    def _visit(self) -> Visit:
        random = self._random
        (kind,) = random.choices(list(KINDS), list(KINDS.values()))
        count = random.randint(2, 5) if kind == "pipeline" else random.randint(1, 6) if kind == "ask" else 1
        visit = Visit(kind, [self._ask() for _ in range(count)], random.uniform(0, 0.03), random.random() < 0.5)
        if kind == "pipeline":
            for ask in visit.asks:
                ask.size = min(ask.size, 1_000)
        elif kind == "tunnel":
            self._to_tunnel(visit.asks[0])
        elif kind == "old":
            visit.asks[0].old, visit.asks[0].chunked, visit.asks[0].expects = True, False, False
        elif kind == "slow_body":
            ask = visit.asks[0]
            ask.method, ask.size, ask.chunked, ask.expects = "POST", 1_000, True, False
            ask.legacy = ask.agent = GOOD[0]
        return visit

    def _ask(self) -> Ask:
        self.number += 1
        random = self._random
        (method,) = random.choices(("POST", "GET", "PUT", "HEAD"), (60, 25, 8, 7))
        route = "plain" if random.random() < 0.2 else "refunds"
        (size,) = random.choices(SIZES, SIZE_WEIGHTS) if method in ("POST", "PUT") else (0,)
        user = f"u{random.randrange(USERS)}"
        ask = Ask(self.number, route, method, size, user, self._legacy(method), self._agent(method))
        ask.chunked = size > 0 and random.random() < 0.25
        ask.again = random.random() < 0.2
        ask.expects = size > 0 and random.random() < 0.1
        return ask

    def _legacy(self, method: str) -> Act:
        bad = self._random.random() < LEGACY_FAULTS
        return self._draw(BAD if bad else GOOD, method)

    def _agent(self, method: str) -> Act:
        chance = self._random.random()
        if chance < ESCALATIONS and method != "HEAD":
            return ESCALATE
        return self._draw(BAD if chance > 1 - AGENT_FAULTS else GOOD, method)

    def _draw(self, acts: Sequence[Act], method: str) -> Act:
        fit = [act for act in acts if method != "HEAD" or act.name in _HEAD_ACTS]
        (act,) = self._random.choices(fit, [act.weight for act in fit])
        return act

    def _to_tunnel(self, ask: Ask) -> None:
        """Most of them are taken up; some are answered, some go wrong."""
        ask.method, ask.size, ask.upgrade, ask.chunked, ask.expects = "GET", 0, True, False, False
        for arm, chance in (("legacy", 0.8), ("agent", 0.9)):
            if self._random.random() < chance:
                setattr(ask, arm, GOOD[0])
