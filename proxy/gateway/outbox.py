"""What a worker has still to report: ticks that the control process has not acknowledged yet.

One queue in two parts: the older ticks in the spool on disk, the newer ones in memory. Nothing but the end of memory
is touched when a tick is put, so a full disk, a slow one, or a control process that is away costs the request path
nothing. All else is decided here and done elsewhere: `plan` says what the disk has to do, `done` takes note of what it
did, `take` gives the frames that may go out now.

Rules kept here:
- order: ticks leave in the order in which they were put, over disconnects and over the worker's death;
- bounds: at most `max_memory` bytes in memory, the spool's own bound on disk, `WINDOW` ticks on the way;
- no count is lost to a bound: a refused tick loses its records, which are counted as dropped, and its counts go with
  the next tick;
- whatever leaves memory is secured, and so is what it says of records: `secured` is told.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, NamedTuple

from proxy.model.clock import Clock
from proxy.model.link import TICK, WINDOW, encode
from proxy.model.measures import PAIRS_DROPPED, RECORDS
from proxy.model.records import Parcel
from proxy.model.tick import Counts, Gauges, Histograms, Labels, Tick, settled, to_wire

MAX_MEMORY: Final = 32 << 20
SPOOL_FULL: Final = "spool_full"
_BATCH: Final = 64
_NOTHING: Final = Parcel([], {})

Users = dict[Labels, bytes]
"""As in `Tick.users`. No more of them wait than there are buckets, at each stage."""
_NOBODY: Final[Users] = {}

Secured = Callable[[int, dict[str, int]], None]
"""Told the number of a tick that is acknowledged or on disk, and of how many records by route it says what became of
them: it holds them, or counts them as dropped or owed."""


def _tell_nobody(_seq: int, _records: dict[str, int]) -> None:
    pass


class DiskWork(NamedTuple):
    """In this order: drop the `pop` oldest frames, append, read `read` frames after the first `skip`."""

    pop: int
    append: tuple[bytes, ...]
    skip: int
    read: int


class DiskResult(NamedTuple):
    """`appended` before one was refused, the `frames` read, and whether the disk holds any frame at all."""

    appended: int
    frames: list[bytes]
    holds: bool


class Outbox:
    """The queue of one worker's life. It begins as if the disk held something, since earlier lives may have left it."""

    def __init__(
        self, source: str, clock: Clock, *, max_memory: int = MAX_MEMORY, secured: Secured = _tell_nobody
    ) -> None:
        self._source, self._clock, self._max_memory, self._secured = source, clock, max_memory, secured
        self._memory: deque[bytes] = deque()
        self._settles: deque[tuple[int, dict[str, int]]] = deque()  # for `secured`, of each tick in memory
        self._memory_bytes = 0
        self._disk_holds = True
        # On the way are first frames of the disk, then, only when the disk holds no others, first ones of memory.
        self._disk_sent = self._memory_sent = 0
        self._pop = 0  # acknowledged frames that are still on disk
        self._acked = 0  # frames acknowledged on the present connection
        self._seq = 0
        self._late_counters: Counts = {}
        self._late_histograms: Histograms = {}
        self._late_users: Users = {}
        self._last_gauges: Gauges | None = None
        self.dropped: dict[Labels, int] = {}
        """(route, reason) -> records lost to a bound."""

    @property
    def empty(self) -> bool:
        """Whether all that was put is acknowledged."""
        return not (self._disk_holds or self._memory or self._late)

    @property
    def saved(self) -> bool:
        """Whether nothing is left in memory."""
        return not (self._memory or self._late)

    @property
    def _late(self) -> bool:
        """Whether counts wait for the next tick."""
        return bool(self._late_counters or self._late_histograms or self._late_users)

    @property
    def on_the_way(self) -> int:
        return self._disk_sent + self._memory_sent

    # In

    def put(
        self,
        counters: Counts,
        histograms: Histograms,
        gauges: Gauges,
        parcels: list[Parcel],
        users: Users = _NOBODY,
        *,
        last: bool = False,
    ) -> None:
        """Queue a tick for each parcel, one where there is none, and none where nothing happened. `last` is admitted
        over the bound."""
        counters, histograms = (
            merged(self._late_counters, counters),
            merged_histograms(self._late_histograms, histograms),
        )
        users = merged_users(self._late_users, users)
        if not (counters or histograms or parcels or users or (gauges and gauges != self._last_gauges)):
            return
        frames, settles = self._frames(counters, histograms, gauges, parcels, users)
        size = sum(map(len, frames))
        if self._memory_bytes + size > self._max_memory and not last:
            self._late_counters, self._late_histograms = merged(counters, self._drop(parcels)), histograms
            self._late_users = users
            return
        self._late_counters, self._late_histograms, self._late_users = {}, {}, {}
        if gauges:
            self._last_gauges = gauges
        self._seq += len(frames)
        self._memory.extend(frames)
        self._settles.extend(settles)
        self._memory_bytes += size

    # Out

    def take(self, read: list[bytes]) -> list[bytes]:
        """The frames to send now: those just `read` from disk or, where the disk holds none, the next in memory."""
        self._disk_sent += len(read)
        if self._disk_holds:
            return read
        start = self._memory_sent
        frames = list(islice(self._memory, start, start + self._room))
        self._memory_sent += len(frames)
        return frames

    def acknowledge(self, total: int) -> None:
        """The control process has kept the first `total` frames of this connection. ValueError where that cannot be."""
        count = total - self._acked
        if not 0 <= count <= self.on_the_way:
            raise ValueError(f"{count} more ticks acknowledged, but {self.on_the_way} are on the way")
        self._acked = total
        from_disk = min(count, self._disk_sent)
        self._disk_sent -= from_disk
        self._pop += from_disk
        self._memory_sent -= count - from_disk
        self._forget(count - from_disk)

    def rewind(self) -> None:
        """The connection is gone: what was on the way must go again, and the next one counts from 0."""
        self._disk_sent = self._memory_sent = self._acked = 0
        self._last_gauges = None  # the next listener has not heard them

    # Disk

    def plan(self, *, connected: bool) -> DiskWork | None:
        """What the disk has to do before frames can go out; None where it has no part in it.

        Memory moves to disk while there is no connection, and when it fills up because the other side is slow.
        """
        spill = not connected or self._memory_bytes * 2 > self._max_memory
        append = tuple(islice(self._memory, _BATCH)) if spill else ()
        read = self._room if connected and self._disk_holds else 0
        if not (self._pop or append or read):
            return None
        return DiskWork(self._pop, append, self._disk_sent, read)

    def done(self, work: DiskWork, result: DiskResult) -> None:
        self._pop -= work.pop
        self._disk_holds = result.holds
        moved = min(result.appended, self._memory_sent)
        self._memory_sent -= moved
        self._disk_sent += moved
        self._forget(result.appended)

    # Inside

    @property
    def _room(self) -> int:
        return WINDOW - self.on_the_way

    def _forget(self, frames: int) -> None:
        for _ in range(frames):
            self._memory_bytes -= len(self._memory.popleft())
            self._secured(*self._settles.popleft())

    def _frames(
        self, counters: Counts, histograms: Histograms, gauges: Gauges, parcels: list[Parcel], users: Users
    ) -> tuple[list[bytes], list[tuple[int, dict[str, int]]]]:
        """One report as frames: one for each parcel, the counts in the first; and what each of them settles."""
        tick = Tick(self._source, self._seq, self._clock.now(), counters, histograms, gauges, users=users)
        frames: list[bytes] = []
        settles: list[tuple[int, dict[str, int]]] = []
        for parcel in parcels or [_NOTHING]:
            tick.seq += 1
            if parcel.counts:
                records: dict[Labels, int] = {(route,): count for route, count in parcel.counts.items()}
                tick.counters = merged(tick.counters, {RECORDS.name: records})
            settles.append((tick.seq, settled(tick.counters)))
            frames.append(encode(TICK, to_wire(tick), parcel.records))
            tick.counters, tick.histograms, tick.gauges, tick.users = {}, {}, {}, {}
        return frames, settles

    def _drop(self, parcels: list[Parcel]) -> Counts:
        """Count their records as dropped: what to add to the counters."""
        lost: dict[Labels, int] = {}
        for _, counts in parcels:
            for route, count in counts.items():
                labels = (route, SPOOL_FULL)
                lost[labels] = lost.get(labels, 0) + count
                self.dropped[labels] = self.dropped.get(labels, 0) + count
        return {PAIRS_DROPPED.name: lost} if lost else {}


def merged(left: Counts, right: Counts) -> Counts:
    """The sums of two tables of counts; neither is changed."""
    if not left or not right:
        return left or right
    total = {name: dict(rows) for name, rows in left.items()}
    for name, rows in right.items():
        table = total.setdefault(name, {})
        for labels, count in rows.items():
            table[labels] = table.get(labels, 0) + count
    return total


def merged_histograms(left: Histograms, right: Histograms) -> Histograms:
    """As `merged`, cell by cell."""
    if not left or not right:
        return left or right
    total = {name: dict(rows) for name, rows in left.items()}
    for name, rows in right.items():
        table = total.setdefault(name, {})
        for labels, cells in rows.items():
            known = table.get(labels)
            table[labels] = [a + b for a, b in zip(known, cells, strict=True)] if known else cells
    return total


def merged_users(left: Users, right: Users) -> Users:
    """All of both; neither is changed."""
    if not left or not right:
        return left or right
    return {labels: left.get(labels, b"") + right.get(labels, b"") for labels in {*left, *right}}
