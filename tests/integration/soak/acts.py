"""What an upstream may do with a request: the words of `x-legacy-act` and `x-agent-act`, and what must come of each."""

from dataclasses import dataclass
from typing import Final

from proxy.model.words import Failure


@dataclass(frozen=True, slots=True)
class Act:
    """`status` of the answer's head, 0 where none is sent. `failure`: what it is to the gateway, None where the answer
    is whole and good. `left`: it fails only after its head and a part of its body have gone out. `open_end`: whether it
    succeeds depends on who is quicker. `small`: only with a small body."""

    name: str
    status: int = 200
    failure: Failure | None = None
    left: bool = False
    open_end: bool = False
    once: bool = False
    """A second try of the same request is answered well."""
    small: bool = False
    weight: int = 1

    @property
    def whole(self) -> bool:
        """Whether a whole answer is sent."""
        return self.failure is None or self.failure in (Failure.SERVER_ERROR, Failure.ESCALATION)


GOOD: Final = (
    Act("length", weight=30),
    Act("chunked", weight=12),
    Act("large", weight=6),
    Act("until_close", weight=6),
    Act("bytewise", weight=4),
    Act("events", weight=5),
    Act("interim", weight=4),
    Act("close", weight=5),
    Act("then_close", weight=3),
    Act("extra", weight=3, small=True),
    Act("early", weight=4),
    Act("no_content", 204, weight=3),
    Act("not_modified", 304, weight=2),
    Act("missing", 404, weight=3),
)
BAD: Final = (
    Act("reset", 0, Failure.RESET, once=True, weight=2),
    Act("half_close", 0, Failure.RESET, weight=2),
    Act("half_head", 0, Failure.RESET, once=True),
    Act("garbage", 0, Failure.RESET, weight=2),
    Act("two_lengths", 0, Failure.RESET),
    Act("bad_coding", 0, Failure.RESET),
    Act("stall", 0, Failure.TIMEOUT),
    Act("reset_within", 200, Failure.RESET, left=True, weight=2),
    Act("half_close_within", 200, Failure.RESET, left=True, weight=2),
    Act("chunks_break_off", 200, Failure.RESET, left=True, weight=2),
    Act("garbage_within", 200, Failure.RESET, left=True),
    Act("stall_within", 200, Failure.TIMEOUT, left=True),
    Act("early_then_reset", 200, open_end=True),
    Act("error", 500, Failure.SERVER_ERROR, weight=3),
    Act("unavailable", 503, Failure.SERVER_ERROR, once=True, weight=3),
)
ESCALATE: Final = Act("escalate", 200, Failure.ESCALATION)
STRAY: Final = Act("stray")
"""Bytes that come behind a whole answer, too late. Whoever is next on the connection could take them for its answer,
and no gateway can tell: so never where several clients are at work."""

ACTS: Final = {act.name: act for act in (*GOOD, *BAD, ESCALATE, STRAY)}
BODILESS: Final = frozenset({"no_content", "not_modified"})
LARGE: Final = 200_000
SMALL: Final = 40


def answer_body(number: int, arm: str, act: Act) -> bytes:
    """Which request it answers and who answers is in it, so that no other can pass for it."""
    if act.name in BODILESS:
        return b""
    size = LARGE if act.name == "large" else SMALL if act.small or act.name == "bytewise" else 300 + number % 5_000
    return filled(b'{"number": %d, "by": "%b", "decision": "%d"' % (number, arm.encode(), number % 7 > 0), size)


def request_body(number: int, size: int) -> bytes:
    """A JSON document of at least `size` bytes that tells the request's number; empty where `size` is 0."""
    return filled(b'{"number": %d' % number, size) if size else b""


def filled(start: bytes, size: int) -> bytes:
    return b'%b, "fill": "%b"}' % (start, b"x" * (size - len(start)))
