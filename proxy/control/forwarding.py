"""Agents' spans on their way to a collector behind us: as they came, one request after the other, in the background.

Nobody waits for the collector. What waits for it is bounded in number and bytes; what comes then is dropped, and
counted. A request that fails is tried again with growing pauses, as OTLP says which may be (no answer, 429, 502, 503,
504), up to `give_up` seconds. Each request goes on once, also where its sender sent it to us again.
"""

import asyncio
import io
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Final, NamedTuple

import aiohttp
import structlog

from proxy.config.sharing_schema import Forward
from proxy.telemetry.families import SPANS_FORWARDED
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger()

MAX_WAITING: Final = 1_000
MAX_BYTES: Final = 64 << 20
"""Requests that wait for the collector, and bytes of all together."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
GIVE_UP: Final = 300.0
"""Seconds after which a request that could not be sent is given up."""

_REMEMBERED: Final = 4_096
"""Digests of requests that were taken lately."""
_AGAIN: Final = frozenset({429, 502, 503, 504})
SENT, FAILED, DROPPED = "sent", "failed", "dropped"


class _Waiting(NamedTuple):
    body: bytes
    headers: Mapping[str, str]
    spans: int


class Forwarder:
    """`run` does the work and ends only by being cancelled; then `close`."""

    def __init__(self, metrics: Metrics, *, first_pause: float = FIRST_PAUSE, give_up: float = GIVE_UP) -> None:
        self._metrics, self._first_pause, self._give_up = metrics, first_pause, give_up
        self._to: Forward | None = None
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._failing = False

    def use(self, forward: Forward | None) -> None:
        """From now on they go there; without a collector what waits is dropped."""
        self._to = forward
        if forward is None:
            self._drop_all()

    def add(self, body: bytes, digest: bytes, headers: Mapping[str, str], spans: int) -> None:
        if self._to is None or digest in self._known:
            return
        self._known[digest] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        if len(self._queue) >= MAX_WAITING or self._bytes + len(body) > MAX_BYTES:
            self._metrics.count(SPANS_FORWARDED, DROPPED, n=spans)
            return
        self._queue.append(_Waiting(body, headers, spans))
        self._bytes += len(body)
        self._arrived.set()

    async def run(self) -> None:
        async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._queue:
                    first = self._queue[0]
                    sent = await self._deliver(session, first)
                    if self._queue and self._queue[0] is first:  # it was not dropped meanwhile
                        self._queue.popleft()
                        self._bytes -= len(first.body)
                        self._metrics.count(SPANS_FORWARDED, SENT if sent else FAILED, n=first.spans)

    def close(self) -> None:
        """What still waits is dropped: spans are not kept over a restart."""
        self._drop_all()

    async def _deliver(self, session: aiohttp.ClientSession, waiting: _Waiting) -> bool:
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._give_up, self._first_pause
        while (forward := self._to) is not None:
            problem, again, wait = await _send(session, forward, waiting)
            if not problem:
                self._note("")
                return True
            self._note(problem)
            pause_now = min(max(pause, wait), LONGEST_PAUSE)
            if not again or loop.time() + pause_now > deadline:
                return False
            await asyncio.sleep(pause_now)
            pause = min(2 * pause, LONGEST_PAUSE)
        return False

    def _note(self, problem: str) -> None:
        """A line where the collector's trouble begins, and one where it ends."""
        if problem and not self._failing:
            _log.warning("spans_not_forwarded", problem=problem)
        elif not problem and self._failing:
            _log.info("spans_forwarded_again")
        self._failing = bool(problem)

    def _drop_all(self) -> None:
        for waiting in self._queue:
            self._metrics.count(SPANS_FORWARDED, DROPPED, n=waiting.spans)
        self._queue.clear()
        self._bytes = 0


async def _send(session: aiohttp.ClientSession, to: Forward, waiting: _Waiting) -> tuple[str, bool, float]:
    """What went wrong (empty: nothing), whether it may be tried again, and seconds to wait at least. No redirect is
    followed: the headers may hold credentials."""
    timeout = aiohttp.ClientTimeout(total=to.timeout)
    try:
        async with session.post(
            to.url,
            data=io.BytesIO(waiting.body),  # aiohttp takes large bytes amiss
            headers={**to.headers, **waiting.headers},
            timeout=timeout,
            allow_redirects=False,
        ) as response:
            if 200 <= response.status < 300:
                return "", False, 0.0
            after = response.headers.get("retry-after", "")
            wait = float(after) if after.isascii() and after.isdecimal() and len(after) < 6 else 0.0
            return f"the collector answered {response.status}", response.status in _AGAIN, wait
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return f"the collector cannot be reached: {type(error).__name__}", True, 0.0
