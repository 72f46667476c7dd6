"""The control process's end of the link: a unix socket to which each worker connects.

Rules kept here:
- a worker gets the present snapshot when it has said who it is, and each later one at once;
- a worker's ticks are taken when they arrive, so that their counts are known at once, and acknowledged in their order,
  each only when it is kept;
- a trip waits for nothing, not even for a tick before it;
- what a worker sent before it died is taken, and a worker's next life is not heard before that;
- a worker that breaks the protocol, sends more than the window allows, or does not read, is cut off. It loses nothing:
  it comes back and sends again what was not acknowledged.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog

from proxy.model import link
from proxy.model.link import Decoder, FrameError, Hello, Trip, encode
from proxy.model.snapshot import Snapshot
from proxy.model.snapshot import encode as encode_snapshot
from proxy.model.tick import Tick, from_wire
from proxy.telemetry.tasks import spawn, stop

_log = structlog.get_logger()

MAX_CONNECTIONS: Final = 512
"""Twice the workers that a configuration may ask for: a restarted one may arrive before its old connection is gone."""
MAX_UNREAD: Final = 8 << 20
"""Bytes of snapshots that a worker may leave unread before it is cut off."""
GREETING_TIMEOUT: Final = 5.0
_READ: Final = 256 << 10


class Hub:
    """`on_tick` gets a tick and whether it is of the worker's present life. It is begun for the ticks in their order,
    returns once the tick is kept, and raises nothing. `on_trip` and `on_gone`, which gets the source of a worker that
    is gone, return at once."""

    def __init__(
        self,
        path: Path,
        *,
        on_tick: Callable[[Tick, bool], Awaitable[None]],
        on_trip: Callable[[Trip], None],
        on_gone: Callable[[str], None],
    ) -> None:
        self._path, self._on_tick, self._on_trip, self._on_gone = path, on_tick, on_trip, on_gone
        self._snapshot = b""
        self._server: asyncio.Server | None = None
        self._workers: dict[asyncio.StreamWriter, Hello] = {}
        self._ends: dict[asyncio.StreamWriter, asyncio.Event] = {}
        self._serving: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def workers(self) -> list[Hello]:
        """Those that are connected now."""
        return list(self._workers.values())

    @property
    def serving(self) -> int:
        """How many of them accept requests. A worker connects before it does, and reports only once it does."""
        return len(self._serving)

    async def start(self) -> None:
        """Listen, once there is a snapshot to give; only this user may connect. OSError where it cannot be."""
        with suppress(FileNotFoundError):
            self._path.unlink()  # a killed process leaves it behind
        self._server = await asyncio.start_unix_server(self._accept, self._path)
        self._path.chmod(0o600)

    def broadcast(self, snapshot: Snapshot) -> None:
        """Give it to each worker now, and to those that come later."""
        self._snapshot = encode(link.SNAPSHOT, encode_snapshot(snapshot))
        for writer, hello in self._workers.items():
            if writer.transport.is_closing():
                continue
            if writer.transport.get_write_buffer_size() > MAX_UNREAD:
                _log.warning("worker_cut_off", worker=hello.number, problem="it does not read its snapshots")
                writer.transport.abort()
            else:
                writer.write(self._snapshot)

    async def close(self) -> None:
        """Let go of all workers and of the socket. What is under way is not acknowledged, so it will be sent again."""
        if self._server is not None:
            self._server.close()
            with suppress(FileNotFoundError):
                self._path.unlink()
        await stop(*self._connections)

    # One connection

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            _log.warning("connection_refused", problem=f"{MAX_CONNECTIONS} are open")
            writer.transport.abort()
            return
        task = spawn(self._serve(reader, writer), "hub connection")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = _frames(reader)
        try:
            async with asyncio.timeout(GREETING_TIMEOUT):
                hello = _hello(*await anext(frames))
            _log.info("worker_connected", worker=hello.number, pid=hello.pid)
            writer.write(self._snapshot)
            earlier = [self._ends[each] for each, known in self._workers.items() if known.number == hello.number]
            self._workers[writer], self._ends[writer] = hello, asyncio.Event()
            await _all_over(earlier)
            await self._listen(frames, writer, hello.source)
        except StopAsyncIteration:
            pass
        except TimeoutError:
            _log.warning("connection_closed", problem="no greeting came")
        except (OSError, FrameError, ValueError, TypeError) as error:
            _log.warning("connection_closed", problem=str(error) or type(error).__name__)
        finally:
            gone = self._workers.pop(writer, None)
            self._serving.discard(writer)
            if gone is not None:
                self._ends.pop(writer).set()
                self._on_gone(gone.source)
            writer.close()

    async def _listen(self, frames: AsyncIterator[tuple[str, Any]], writer: asyncio.StreamWriter, source: str) -> None:
        """Read until the worker is gone. Acknowledging is a task beside: nothing waits for a tick being kept."""
        taken: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue(link.WINDOW)
        acknowledging = spawn(self._acknowledge(taken, writer), "hub acknowledgements")
        try:
            async for kind, payload in frames:
                match kind:
                    case link.TICK if not taken.full():
                        taken.put_nowait(spawn(self._take(payload, source, writer), "hub tick"))
                    case link.TRIP:
                        self._on_trip(Trip(*payload))
                    case _:
                        raise FrameError(f"{kind!r} is not for us, or too early")
        finally:
            await asyncio.sleep(0)  # what has come is taken, even if the worker is gone: each task has begun now
            await stop(acknowledging, *(taken.get_nowait() for _ in range(taken.qsize())))

    async def _take(self, payload: Any, source: str, writer: asyncio.StreamWriter) -> None:
        """A tick that cannot be read counts as taken: it would come again for ever."""
        try:
            tick = from_wire(payload)
        except (ValueError, TypeError) as error:
            _log.error("tick_unreadable", problem=str(error))
            return
        live = tick.source == source
        if live:  # what an earlier life left comes already before the worker accepts requests
            self._serving.add(writer)
        await self._on_tick(tick, live)

    async def _acknowledge(self, taken: asyncio.Queue[asyncio.Task[None]], writer: asyncio.StreamWriter) -> None:
        kept = 0
        while True:
            await (await taken.get())
            kept += 1
            if writer.transport.is_closing():
                return
            writer.write(encode(link.ACK, kept))


async def _all_over(connections: list[asyncio.Event]) -> None:
    """An earlier life of a worker is heard out before the next one, which tells what that one owed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(GREETING_TIMEOUT):
            for over in connections:
                await over.wait()


def _hello(kind: str, payload: Any) -> Hello:
    if kind != link.HELLO:
        raise FrameError(f"it began with {kind!r}")
    hello = Hello(*payload)
    if hello.version != link.VERSION:
        raise FrameError(f"it speaks version {hello.version} of the link, we speak {link.VERSION}")
    return hello


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[str, Any]]:
    decoder = Decoder()
    while data := await reader.read(_READ):
        for frame in decoder.feed(data):
            yield frame
