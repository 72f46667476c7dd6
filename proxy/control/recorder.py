"""Brings what workers report to the store, each tick exactly once and in order, whether the store is there or not.

The way of a tick: `submit` queues it, `_accept` makes batches of it and writes them, together with those of the other
ticks that came meanwhile. While the store is away they go to the spool on disk instead, and `_drain` writes them from
there; as long as anything waits in the spool, new ticks go behind it. A tick is kept, and `submit` returns, once it is
in the one or in the other.

What neither takes is dropped: its pairs are counted as lost, but its evidence and its users are small and go with the
next tick of its route. (Evidence counts twice only where a write was done, its answer lost, and the disk unusable, all
at once.)
"""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

import structlog

from proxy.control.batching import RouteRules, make_batches
from proxy.model.errors import StoreFormatError, StoreUnavailableError
from proxy.model.ports import PairWriter
from proxy.model.rollouts import Batch, Evidence
from proxy.model.tick import Tick
from proxy.storage import frames
from proxy.storage.sealing import Sealer
from proxy.storage.spool import Spool
from proxy.storage.tally import add
from proxy.telemetry.families import ESCALATIONS, LATE
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger()

GROUP_PAIRS: Final = 500
"""A write takes no further tick once it has so many pairs."""

SPOOL_FULL: Final = "spool_full"
SPOOL_FAILED: Final = "spool_failed"
STORE_FORMAT: Final = "store_format"
"""Reasons for which pairs are dropped: the bound, the disk, a key in the store that is not ours."""

_DRAIN_FRAMES: Final = 64
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0


class _Taken(NamedTuple):
    """A tick on its way: its batches and who waits for them to be kept."""

    batches: list[Batch]
    kept: asyncio.Future[None]


class Recorder:
    """`run` does the work and ends only by being cancelled; then `close`. `spool` becomes the recorder's own."""

    def __init__(self, writer: PairWriter, spool: Spool, metrics: Metrics, sealer: Sealer | None = None) -> None:
        self._writer, self._spool, self._metrics = writer, spool, metrics
        self._sealer = sealer or Sealer()
        self._rules: Mapping[str, RouteRules] = {}
        # No bound of its own: it holds no more than callers wait for (the link's window, one tick of each worker).
        self._queue: deque[tuple[Tick, asyncio.Future[None]]] = deque()
        self._callers: set[asyncio.Future[None]] = set()
        self._arrived = asyncio.Event()
        self._spooled = asyncio.Event()
        self._attempted = 0  # of the spool's first frames, those whose writing was begun and may have been done
        self._owed: dict[str, Batch] = {}  # by route, without pairs
        self._away = False
        self._foreign: set[str] = set()

    def set_rules(self, rules: Mapping[str, RouteRules]) -> None:
        """From now on records are of these routes; those of any other are dropped and counted."""
        self._rules = rules

    async def submit(self, tick: Tick) -> None:
        """Returns when the tick is kept, or was dropped and counted. Ticks are kept in the order of the calls.

        Raises nothing that the outside can cause.
        """
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((tick, kept))
        self._callers.add(kept)
        self._arrived.set()
        try:
            await kept
        finally:
            self._callers.discard(kept)

    async def run(self) -> None:
        if self._spool.frames:
            _log.info("spool_found", bytes=self._spool.size, frames=self._spool.frames)
            self._spooled.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._accept())
            tasks.create_task(self._drain())

    def close(self) -> None:
        """What was submitted and is not kept yet is not: its callers are cancelled."""
        for kept in self._callers:
            kept.cancel()
        self._spool.close()

    # Ticks in

    async def _accept(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                group: list[_Taken] = []
                try:
                    await self._fill(group)
                    await self._keep(group)
                except Exception as error:  # noqa: BLE001  # a fault of ours: those who wait must hear of it, and others go on
                    _finish(group, error)
                else:
                    _finish(group)

    async def _fill(self, group: list[_Taken]) -> None:
        pairs = 0
        while self._queue and pairs < GROUP_PAIRS:
            tick, kept = self._queue.popleft()
            taken = _Taken([], kept)
            group.append(taken)
            dropped, late = self._metrics.count_dropped, partial(self._metrics.count, LATE)
            for batch in await make_batches(tick, self._rules, dropped, self._sealer, late):
                taken.batches.append(self._with_owed(batch))
                pairs += len(batch.pairs)

    async def _keep(self, group: list[_Taken]) -> None:
        by_tick = [taken.batches for taken in group if taken.batches]
        if not by_tick:
            return
        attempted = not self._spool.frames
        if attempted and await self._write_at_once([batch for batches in by_tick for batch in batches]):
            return
        for batches in by_tick:
            await self._set_aside(batches, attempted=attempted)
        self._show_spool()

    async def _write_at_once(self, batches: list[Batch]) -> bool:
        try:
            await self._write(batches)
        except StoreUnavailableError as error:
            self._lost(error)
            return False
        self._reached()
        return True

    async def _set_aside(self, batches: list[Batch], *, attempted: bool) -> None:
        refused = self._spool.refused
        # In a thread, as all that touches the disk: a slow one must not hold up snapshots and trips.
        if await asyncio.to_thread(self._spool.append, frames.encode(batches)):
            self._attempted += attempted
            self._spooled.set()
            return
        reason = SPOOL_FULL if self._spool.refused > refused else SPOOL_FAILED
        for batch in batches:
            if batch.pairs:
                self._metrics.count_dropped(batch.route, reason, len(batch.pairs))
            if batch.outcomes:
                self._metrics.count(LATE, batch.route, reason, n=len(batch.outcomes))
            self._owed[batch.route] = replace(self._with_owed(batch), pairs=(), outcomes=())

    def _with_owed(self, batch: Batch) -> Batch:
        """The batch, and with it the evidence and the users that its route lost before."""
        owed = self._owed.pop(batch.route, None)
        if owed is None:
            return batch
        evidence, users = dict(owed.evidence), dict(owed.users)
        for stage, new in batch.evidence.items():
            evidence[stage] = add(evidence.get(stage, Evidence()), new)
        for place, (legacy, agent) in batch.users.items():
            before = users.get(place, (frozenset(), frozenset()))
            users[place] = (before[0] | legacy, before[1] | agent)
        return replace(batch, evidence=evidence, users=users)

    # Spool out

    async def _drain(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            await self._spooled.wait()
            self._spooled.clear()
            waiting = await asyncio.to_thread(self._spool.head, _DRAIN_FRAMES)
            if not waiting:
                continue
            self._spooled.set()
            try:
                await self._write_frames(waiting)
            except Exception as error:  # noqa: BLE001  # what is on disk must not be given up for a fault of ours
                if not isinstance(error, StoreUnavailableError):
                    _log.exception("spool_not_drained")
                self._lost(error)
                self._attempted = max(self._attempted, len(waiting))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE
                await asyncio.to_thread(self._spool.pop, len(waiting))
                self._attempted = max(0, self._attempted - len(waiting))
                self._reached()
                self._show_spool()

    async def _write_frames(self, waiting: list[bytes]) -> None:
        batches: list[Batch] = []
        attempted = 0
        for number, frame in enumerate(waiting):
            try:
                batches += frames.decode(frame)
            except ValueError as error:
                _log.error("spool_frame_unreadable", directory=str(self._spool.directory), problem=str(error))
            if number < self._attempted:
                attempted = len(batches)
        await self._write(batches, attempted)

    # Store

    async def _write(self, batches: list[Batch], attempted: int = 0) -> None:
        """`attempted` of the first ones may be in the store already, by us and not counted yet."""
        new: list[bool | None]
        try:
            new = [*await self._writer.write(batches)]
        except StoreFormatError:
            new = [await self._write_alone(batch) for batch in batches]
        for number, (batch, was_new) in enumerate(zip(batches, new, strict=True)):
            if was_new or (was_new is False and number < attempted):
                self._count_pairs(batch)

    async def _write_alone(self, batch: Batch) -> bool | None:
        """None where the store holds something that is not ours in this batch's keys: then the batch is dropped."""
        try:
            (was_new,) = await self._writer.write([batch])
        except StoreFormatError as error:
            self._metrics.count_dropped(batch.route, STORE_FORMAT, len(batch.pairs))
            if error.key not in self._foreign:
                self._foreign.add(error.key)
                _log.error("store_format", route=batch.route, error=str(error))
            return None
        return was_new

    def _count_pairs(self, batch: Batch) -> None:
        for verdict, count in Counter(pair.verdict for pair in batch.pairs if pair.verdict is not None).items():
            self._metrics.count_pairs(batch.route, verdict, count)
        for reason, count in Counter(pair.reason for pair in batch.pairs if pair.escalation).items():
            self._metrics.count(ESCALATIONS, batch.route, reason, n=count)

    def _lost(self, error: Exception) -> None:
        self._metrics.store_up(False)
        if not self._away:
            self._away = True
            _log.warning("store_away", error=str(error))

    def _reached(self) -> None:
        self._metrics.store_up(True)
        if self._away:
            self._away = False
            _log.info("store_back", spooled=self._spool.frames)

    def _show_spool(self) -> None:
        self._metrics.set_spool(self._spool.size, self._spool.frames)


def _finish(group: list[_Taken], error: Exception | None = None) -> None:
    for _, kept in group:
        if kept.done():
            continue  # its caller is gone
        if error is None:
            kept.set_result(None)
        else:
            kept.set_exception(error)
