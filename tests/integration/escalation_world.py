"""Escalations in a real store, and a human queue that is a real server: what tests of either share."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from proxy.model.records import Outcome, Record
from proxy.model.rollouts import Batch, Kept
from proxy.storage.pairs import PairStore

PATIENCE = 15.0
STEPS: list[dict[str, Any]] = [
    {"kind": "tool", "name": "look_up", "at": "2026-11-22T08:00:01.000Z", "duration": 0.2, "arguments": {"id": "o1"}},
]


def pair(number: int = 1, **changes: Any) -> dict[str, Any]:
    """The document of a request that legacy took over from the agent."""
    return {
        "request_id": f"r{number}",
        "trace_id": f"{number:032x}",
        "route": "refunds",
        "version": "v1",
        "stage": "canary",
        "at": "2026-11-22T08:00:01.000Z",
        "arm": "legacy",
        "mode": "fallback",
        "verdict": "incomparable",
        "verdict_reason": "agent did not complete: timeout",
        "differences": [],
        "request": {
            "method": "POST",
            "target": "/refunds",
            "headers": {"content-type": "application/json"},
            "body": {"id": f"order-{number}", "amount": 42},
            "truncated": False,
        },
        "legacy": {
            "status": 202, "decision": None, "duration": 0.05, "error": None, "headers": {},
            "body": {"case_id": "c1"}, "truncated": False,
        },
        "agent": {
            "status": 0, "decision": None, "duration": 20.0, "error": "timeout", "headers": {},
            "body": {"thought": "the order is late"}, "truncated": True,
        },
        "escalation": {"id": f"e{number}", "reason": "no answer within 20 s"},
        "steps": STEPS,
        **changes,
    }  # fmt: skip


def kept(number: int, reason: str = "timeout", **changes: Any) -> Kept:
    return Kept("incomparable", orjson.dumps(pair(number, **changes)), 1e9, escalation=f"e{number}", reason=reason)


class Escalating:
    """Writes escalations as the recorder does."""

    def __init__(self, pairs: PairStore) -> None:
        self._pairs = pairs
        self._seq: dict[str, int] = {}

    async def write(self, *numbers: int, route: str = "refunds", reason: str = "timeout") -> None:
        self._seq[route] = self._seq.get(route, 0) + 1
        batch = Batch(route, "w1", self._seq[route], pairs=tuple(kept(number, reason) for number in numbers))
        await self._pairs.write([batch])


def fallen_back(request_id: str, error: str = "timeout", why: str = "no answer within 20 s") -> Record:
    """As a worker reports it."""
    return Record(
        request_id, "0" * 32, "refunds", *("v1", "canary", 1), 1e9, "POST", "/refunds", "abcd", 7, "legacy",
        "fallback", "bucket_in", "sampled_out", legacy=Outcome(202, 0.05), agent=Outcome(0, 20.0, error),
        escalation=(f"e-{request_id}", why),
    )  # fmt: skip


class HumanQueue:
    """Answers each POST with what `answers` says; remembers what came. `hang` holds all answers back."""

    def __init__(self) -> None:
        self.answers: Callable[[dict[str, Any]], web.Response] = lambda _: web.Response()
        self.came: list[tuple[dict[str, str], bytes]] = []
        self.hang = asyncio.Event()
        self.hang.set()
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        return [orjson.loads(body)["id"] for _, body in self.came]

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Listen no more; the port stays the same at the next start."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.came.append(({name.lower(): value for name, value in request.headers.items()}, body))
        await self.hang.wait()
        return self.answers(orjson.loads(body))


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Nothing tells when a loop in the background has done its work."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)
