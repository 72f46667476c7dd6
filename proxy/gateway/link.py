"""The worker's end of the link: snapshots come in, ticks and trips go out.

Nothing here is ever waited for by a request. Two tasks do the work: one keeps the connection, the other, the pump,
moves ticks between memory, disk and connection as the `Outbox` decides; the disk's part of that runs in a thread.
Frames are described in `proxy.model.link`.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import structlog

from proxy.gateway.outbox import DiskResult, DiskWork, Outbox, merged
from proxy.model import link
from proxy.model.clock import Clock
from proxy.model.link import Decoder, FrameError, Hello, Trip, encode
from proxy.model.measures import PAIRS_DROPPED
from proxy.model.records import Parcel
from proxy.model.snapshot import Snapshot, decode
from proxy.model.tick import Counts, Gauges, Histograms, Labels
from proxy.model.words import Phase
from proxy.storage import owed
from proxy.storage.owed import Left, Owed
from proxy.storage.sealing import Sealer
from proxy.storage.spool import Spool
from proxy.telemetry.tasks import spawn, stop

_log = structlog.get_logger()

FIRST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 1.0
GREETING_TIMEOUT: Final = 5.0
"""Seconds for connecting and the first snapshot."""
ACK_TIMEOUT: Final = 10.0
"""Seconds without an acknowledgement after which a control process that still holds the connection counts as gone."""
UNREADABLE: Final = "unreadable"
"""Why what a frame held is dropped: it was sealed, and does not open."""
_READ: Final = 256 << 10
_LOST: Final = (OSError, EOFError, FrameError, TimeoutError, ValueError, TypeError)


class Link:
    """`on_snapshot` is called in the loop, for each snapshot in its order. `source` is this worker's life. `sealer` has
    the keys of the last snapshot that came; whoever goes by another one must give it these before the first report."""

    def __init__(
        self, path: Path, number: int, spool_directory: Path, on_snapshot: Callable[[Snapshot], None], clock: Clock
    ) -> None:
        self.source = uuid.uuid4().hex
        self._path, self._number, self._on_snapshot, self._clock = path, number, on_snapshot, clock
        self._spool_directory = spool_directory
        self.sealer = Sealer()
        self._disk: Spool | None = None
        self.owed = Owed()
        self._left: Counts = {}
        self._unreadable = 0  # frames of the spool that were counted so
        self._outbox = Outbox(self.source, clock, secured=self._secured)
        self._trips: dict[str, Trip] = {}
        self._writer: asyncio.StreamWriter | None = None  # set exactly while a snapshot has come over it
        self._filled: asyncio.StreamWriter | None = None  # the one that the outbox counts for
        self._acked = 0
        self._ack_at = 0.0
        self._greeted = asyncio.Event()
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def connected(self) -> bool:
        return self._writer is not None

    @property
    def dropped(self) -> dict[Labels, int]:
        """(route, reason) -> records lost to a bound, in this worker's life."""
        return dict(self._outbox.dropped)

    async def start(self, timeout: float) -> bool:  # noqa: ASYNC109  # it is answered, not raised
        """Connect, in the background from now on. Whether a snapshot came, and was handed on, within `timeout` seconds.

        StoreError where another process uses the spool directory.
        """
        self._disk = await asyncio.to_thread(Spool, self._spool_directory, sealer=self.sealer)
        self.owed, left = await asyncio.to_thread(owed.begin, self._spool_directory, self.source)
        self._left = _counts(left)
        self._tasks = [spawn(self._keep_connected(), "link"), spawn(self._pump(), "link pump")]
        try:
            async with asyncio.timeout(timeout):
                await self._greeted.wait()
        except TimeoutError:
            return False
        return True

    def report(
        self,
        counters: Counts,
        histograms: Histograms,
        gauges: Gauges,
        parcels: list[Parcel],
        users: dict[Labels, bytes],
    ) -> None:
        """Take what happened since the last report, to be sent or kept. Never waits, never raises on a full disk.

        The first report, with which the worker says that it serves, also tells what the life before it owed.
        """
        counters, self._left = merged(self._left, counters), {}
        self._outbox.put(counters, histograms, gauges, parcels, users)
        self._wake.set()
        if self._writer is None or not self._outbox.on_the_way:
            self._ack_at = self._clock.monotonic()
        elif self._clock.monotonic() - self._ack_at > ACK_TIMEOUT:
            _log.warning("link_silent", seconds=ACK_TIMEOUT)
            self._writer.transport.abort()

    def trip(self, trip: Trip) -> None:
        """Tell the control process at once, and again after each reconnect until a snapshot shows that it is known."""
        self._trips[trip.route] = trip
        if self._writer is not None:
            _send(self._writer, encode(link.TRIP, trip))

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109  # what remains goes to disk
        """Wait up to `timeout` seconds until all is acknowledged; what is not is on disk afterwards."""
        self._outbox.put({}, {}, {}, [], last=True)
        self._wake.set()
        try:
            async with asyncio.timeout(timeout):
                while self._writer is not None and not self._outbox.empty:
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            pass
        if not self._tasks:
            return
        keeper, pump = self._tasks
        await stop(keeper)
        self._writer, self._closing = None, True
        self._wake.set()
        await pump  # not cancelled: its thread would go on
        await asyncio.to_thread(self._save)
        if not self._outbox.saved:
            _log.error("ticks_lost", hint="the spool is full or cannot be written; their counts are missing")

    # Connection

    async def _keep_connected(self) -> None:
        wait, told = FIRST_WAIT, False
        while True:
            try:
                await self._converse()
            except _LOST as error:
                was_up, problem = self._writer is not None, str(error) or type(error).__name__
            else:
                was_up, problem = self._writer is not None, "the other side closed it"
            self._writer = None
            self._wake.set()
            self._settled.set()
            if was_up:
                wait, told = FIRST_WAIT, False
            if not told:
                _log.warning("link_down", problem=problem)
                told = True
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _converse(self) -> None:
        """One connection from its greeting to its end. Raises what ends it."""
        async with asyncio.timeout(GREETING_TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            _send(writer, encode(link.HELLO, Hello(link.VERSION, self.source, self._number, os.getpid())))
            frames = _frames(reader)
            async with asyncio.timeout(GREETING_TIMEOUT):
                kind, payload = await anext(frames)
            if kind != link.SNAPSHOT:
                raise FrameError(f"the greeting was answered by {kind!r}")
            self._take_snapshot(payload)
            self._begin(writer)
            async for kind, payload in frames:
                self._receive(kind, payload)
        except StopAsyncIteration:
            raise EOFError("the other side closed it") from None
        finally:
            writer.close()

    def _begin(self, writer: asyncio.StreamWriter) -> None:
        self._writer, self._ack_at = writer, self._clock.monotonic()
        for trip in self._trips.values():
            _send(writer, encode(link.TRIP, trip))
        self._greeted.set()
        self._wake.set()
        _log.info("link_up")

    def _receive(self, kind: str, payload: Any) -> None:
        match kind:
            case link.ACK if isinstance(payload, int):
                self._acked, self._ack_at = payload, self._clock.monotonic()
                self._wake.set()
            case link.SNAPSHOT:
                self._take_snapshot(payload)
            case _:
                raise FrameError(f"{kind!r} is not for a worker")

    def _take_snapshot(self, payload: Any) -> None:
        snapshot = decode(payload)
        self.sealer.use(snapshot.sealing)
        try:
            self._on_snapshot(snapshot)
        except Exception as error:  # whatever it is, the worker goes on with the snapshot it has
            _log.exception("snapshot_not_applied", number=snapshot.number)
            raise FrameError(f"snapshot {snapshot.number} could not be applied") from error
        self._drop_known_trips(snapshot)

    def _drop_known_trips(self, snapshot: Snapshot) -> None:
        rollouts = {route.name: route.rollout for route in snapshot.routes if route.rollout is not None}
        for route, trip in list(self._trips.items()):
            rollout = rollouts.get(route)
            if rollout is None or rollout.phase is Phase.DEGRADED or rollout.epoch > trip.epoch:
                del self._trips[route]

    # Pump

    async def _pump(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._step()
            except ValueError as error:  # it acknowledged what it never got: not one of ours
                _log.error("link_confused", problem=str(error))
                if self._writer is not None:
                    self._writer.transport.abort()
            self._settled.set()

    async def _step(self) -> None:
        writer = self._writer
        if writer is not self._filled:
            self._outbox.rewind()
            self._filled, self._acked = writer, 0
        self._outbox.acknowledge(self._acked)
        read: list[bytes] = []
        work = self._outbox.plan(connected=writer is not None)
        if work is not None:
            result = await asyncio.to_thread(self._on_disk, work)
            self._outbox.done(work, result)
            self._count_unreadable()
            read = result.frames
            if result.appended or not result.holds:
                self._wake.set()  # there may be more to move, or it is memory's turn
        if writer is None or writer is not self._writer:
            return
        for frame in self._outbox.take(read):
            _send(writer, frame)

    def _on_disk(self, work: DiskWork) -> DiskResult:
        """In a thread, one at a time."""
        assert self._disk is not None  # for mypy; `start` opened it
        left = work.pop
        while left and (kept := len(self._disk.head(left))):
            self._disk.pop(kept)
            left -= kept
        appended = 0
        for frame in work.append:
            if not self._disk.append(frame):
                break
            appended += 1
        found = self._disk.head(work.skip + work.read) if work.read else []
        return DiskResult(appended, found[work.skip :], bool(found) if work.read else not self._disk.empty)

    def _count_unreadable(self) -> None:
        """A frame that does not open says neither its route nor how many records it held."""
        assert self._disk is not None  # for mypy; `start` opened it
        if lost := self._disk.unreadable - self._unreadable:
            self._unreadable += lost
            self._left = merged(self._left, {PAIRS_DROPPED.name: {("", UNREADABLE): lost}})

    def _secured(self, seq: int, records: dict[str, int]) -> None:
        self.owed.secure(seq, records)

    def _save(self) -> None:
        """Move all of memory to disk and let go of it."""
        self._outbox.rewind()
        while (work := self._outbox.plan(connected=False)) is not None:
            result = self._on_disk(work)
            self._outbox.done(work, result)
            if work.append and not result.appended:
                break
        if self._outbox.saved and self.owed.nothing:
            owed.forget(self._spool_directory)
        if self._disk is not None:
            self._disk.close()


def _counts(left: Left | None) -> Counts:
    if left is None:
        return {}
    _log.warning("worker_was_killed", records=sum(left.records.values()), hint="so many at most were not handed over")
    return left.counts()


def _send(writer: asyncio.StreamWriter, frame: bytes) -> None:
    """Onto the wire, or nowhere where the other side has just gone: uvloop raises on a closed transport."""
    if not writer.transport.is_closing():
        writer.write(frame)


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[str, Any]]:
    decoder = Decoder()
    while data := await reader.read(_READ):
        for frame in decoder.feed(data):
            yield frame
