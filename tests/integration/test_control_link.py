"""Worker and control process over a real socket: a tick is kept once, a trip overtakes, who misbehaves is cut off."""

import asyncio
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.control import hub as hub_module
from proxy.control.hub import Hub
from proxy.gateway import link as link_module
from proxy.gateway.link import Link
from proxy.model import link as wire
from proxy.model.link import Decoder, Hello, Trip, encode
from proxy.model.measures import OWED
from proxy.model.records import Parcel
from proxy.model.snapshot import KeySource, MatchSpec, RolloutSpec, RouteSpec, Snapshot, UpstreamSpec
from proxy.model.tick import Tick, to_wire
from proxy.model.words import Phase
from proxy.storage import owed
from proxy.storage.spool import Spool
from proxy.telemetry.clock import SystemClock

FAMILY = "decisions_total"
LABELS = ("refunds", "bucket_in")
TRIP = Trip("refunds", "v1", 1, "10 connect failures in a row", 0.0)


def snapshot(number: int, *, phase: Phase = Phase.PROGRESSING, epoch: int = 1) -> Snapshot:
    rollout = RolloutSpec("agent", "v1", "canary", phase, epoch, 5_000, (KeySource("client_ip"),), "s")
    route = RouteSpec("refunds", MatchSpec(), "human", rollout)
    return Snapshot(number, (route,), (UpstreamSpec("human", "127.0.0.1", 9001), UpstreamSpec("agent", "::1", 9002)))


class Desk:
    """A control process's end that keeps ticks in memory; `full` makes it wait before it keeps the next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ticks: list[tuple[Tick, bool]] = []
        self.trips: list[Trip] = []
        self.gone: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.changed = asyncio.Event()
        self.hub = self._new()

    def _new(self) -> Hub:
        return Hub(self.path, on_tick=self._take, on_trip=self._trip, on_gone=self.gone.append)

    async def restart(self, present: Snapshot) -> None:
        self.hub = self._new()
        self.hub.broadcast(present)
        await self.hub.start()

    async def _take(self, tick: Tick, live: bool) -> None:
        await self.open.wait()
        self.ticks.append((tick, live))
        self.changed.set()

    def _trip(self, trip: Trip) -> None:
        self.trips.append(trip)
        self.changed.set()

    async def until_known(self, workers: int) -> None:
        async with asyncio.timeout(5):
            while len(self.hub.workers) < workers:  # nothing tells
                await asyncio.sleep(0.001)

    @property
    def total(self) -> int:
        """As whoever adds up would have it: each (source, seq) once."""
        once = {(tick.source, tick.seq): tick for tick, _ in self.ticks}
        return sum(tick.counters.get(FAMILY, {}).get(LABELS, 0) for tick in once.values())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class Worker:
    """A worker's end: a real link, and what it was given."""

    def __init__(self, path: Path, spool: Path, number: int = 1) -> None:
        self.snapshots: list[Snapshot] = []
        self.changed = asyncio.Event()
        self.spool = spool
        self.link = Link(path, number, spool, self._use, SystemClock())

    def _use(self, given: Snapshot) -> None:
        self.snapshots.append(given)
        self.changed.set()

    def count(self, n: int = 1) -> None:
        self.link.report({FAMILY: {LABELS: n}}, {}, {}, [], {})

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)

    async def numbered(self, number: int) -> None:
        await self.until(lambda: bool(self.snapshots) and self.snapshots[-1].number == number)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "link.sock")
    desk.hub.broadcast(snapshot(1))
    await desk.hub.start()
    yield desk
    desk.open.set()
    await desk.hub.close()


@asynccontextmanager
async def worker_on(desk: Desk, tmp_path: Path, *, number: int = 1, wait: float = 5.0) -> AsyncIterator[Worker]:
    worker = Worker(desk.path, tmp_path / f"worker-{number}", number)
    await worker.link.start(wait)
    try:
        yield worker
    finally:
        await worker.link.close(1.0)


# Snapshots


async def test_a_worker_gets_the_present_snapshot_and_each_later_one(desk: Desk, tmp_path: Path) -> None:
    async with worker_on(desk, tmp_path) as worker:
        assert worker.link.connected
        assert worker.snapshots == [snapshot(1)]
        desk.hub.broadcast(snapshot(2))
        desk.hub.broadcast(snapshot(3))
        await worker.numbered(3)
        assert [each.number for each in worker.snapshots] == [1, 2, 3]


async def test_every_worker_gets_it(desk: Desk, tmp_path: Path) -> None:
    async with worker_on(desk, tmp_path) as one, worker_on(desk, tmp_path, number=2) as two:
        assert sorted(hello.number for hello in desk.hub.workers) == [1, 2]
        desk.hub.broadcast(snapshot(2))
        await one.numbered(2)
        await two.numbered(2)


async def test_a_worker_serves_from_its_first_report_to_its_end(desk: Desk, tmp_path: Path) -> None:
    async with worker_on(desk, tmp_path) as worker:
        assert (len(desk.hub.workers), desk.hub.serving) == (1, 0)
        worker.count()
        await desk.until(lambda: desk.total == 1)
        assert desk.hub.serving == 1
    async with asyncio.timeout(10):
        while desk.hub.serving:
            await asyncio.sleep(0.005)


async def test_without_a_control_process_it_says_so_and_connects_when_there_is_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "link.sock")
    worker = Worker(desk.path, tmp_path / "worker-1")
    assert not await worker.link.start(0.05)
    worker.count(5)
    await desk.restart(snapshot(1))
    await worker.numbered(1)
    await desk.until(lambda: desk.total == 5)
    await worker.link.close(1.0)
    await desk.hub.close()


async def test_a_snapshot_that_the_worker_cannot_use_leaves_it_with_the_one_it_has(desk: Desk, tmp_path: Path) -> None:
    async with worker_on(desk, tmp_path) as worker:
        refuse = True

        def use(given: Snapshot) -> None:
            if refuse:
                raise RuntimeError("no")
            worker.snapshots.append(given)

        worker.link._on_snapshot = use
        desk.hub.broadcast(snapshot(2))
        await worker.until(lambda: not worker.link.connected)
        refuse = False
        await worker.numbered(2)


async def test_only_this_user_may_connect(desk: Desk) -> None:
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600


# Ticks


async def test_ticks_arrive_in_order_and_are_acknowledged(desk: Desk, tmp_path: Path) -> None:
    async with worker_on(desk, tmp_path) as worker:
        for _ in range(100):
            worker.count()
        await desk.until(lambda: len(desk.ticks) == 100)
        assert [tick.seq for tick, _ in desk.ticks] == list(range(1, 101))
        assert all(live and tick.source == worker.link.source for tick, live in desk.ticks)
        await worker.until(lambda: worker.link._outbox.empty)
    assert desk.gone == [worker.link.source]


async def test_while_the_control_process_is_away_ticks_wait_on_disk_and_none_is_lost(
    desk: Desk, tmp_path: Path
) -> None:
    async with worker_on(desk, tmp_path) as worker:
        worker.count(1)
        await desk.until(lambda: desk.total == 1)
        await desk.hub.close()
        for _ in range(50):
            worker.count(2)
        await worker.until(lambda: worker.link._outbox.saved)
        assert any((tmp_path / "worker-1").glob("*.seg"))
        await desk.restart(snapshot(2))
        await desk.until(lambda: desk.total == 101)
        await worker.numbered(2)
        worker.count(4)
        await desk.until(lambda: desk.total == 105)
        await worker.until(lambda: worker.link._outbox.empty)
        order = [tick.seq for tick, _ in desk.ticks]
        assert order == sorted(order)


async def test_a_tick_that_was_kept_but_not_acknowledged_comes_again(desk: Desk, tmp_path: Path) -> None:
    async with worker_on(desk, tmp_path) as worker:
        desk.open.clear()
        for _ in range(3):
            worker.count()
        await worker.until(lambda: worker.link._outbox.on_the_way == 3)
        await desk.hub.close()
        desk.open.set()
        await desk.restart(snapshot(2))
        await desk.until(lambda: desk.total == 3)


async def test_a_killed_workers_ticks_are_sent_by_the_next_one_in_its_place(desk: Desk, tmp_path: Path) -> None:
    await desk.hub.close()
    first = Worker(desk.path, tmp_path / "worker-1")
    await first.link.start(0.0)
    first.count(7)
    await first.until(lambda: first.link._outbox.saved)
    await first.link.close(0.0)
    await desk.restart(snapshot(1))
    async with worker_on(desk, tmp_path) as second:
        await desk.until(lambda: desk.total == 7)
        assert desk.hub.serving == 0
        second.count(1)
        await desk.until(lambda: desk.total == 8)
        assert desk.hub.serving == 1
    assert [(tick.source, live) for tick, live in desk.ticks] == [
        (first.link.source, False),
        (second.link.source, True),
    ]


async def test_closing_waits_for_the_last_acknowledgement(desk: Desk, tmp_path: Path) -> None:
    async with worker_on(desk, tmp_path) as worker:
        worker.count(3)
    assert desk.total == 3
    assert Spool(worker.spool).empty


async def test_closing_without_a_listener_leaves_everything_on_disk(desk: Desk, tmp_path: Path) -> None:
    async with worker_on(desk, tmp_path) as worker:
        desk.open.clear()
        worker.count(3)
        await worker.link.close(0.05)
    left = Spool(worker.spool)
    assert len(left.head(10)) == 1
    left.close()


async def test_a_control_process_that_falls_silent_is_left(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "ACK_TIMEOUT", 0.05)
    async with worker_on(desk, tmp_path) as worker:
        desk.open.clear()
        worker.count(1)
        await worker.until(lambda: worker.link._outbox.on_the_way == 1)
        first = worker.link._writer
        async with asyncio.timeout(5):
            while worker.link._writer is first:
                worker.link.report({}, {}, {}, [], {})
                await asyncio.sleep(0.02)
        desk.open.set()
        await desk.until(lambda: desk.total == 1)


# Trips


async def test_a_trip_does_not_wait_for_the_ticks_before_it(desk: Desk, tmp_path: Path) -> None:
    async with worker_on(desk, tmp_path) as worker:
        desk.open.clear()
        for _ in range(wire.WINDOW + 10):
            worker.count()
        await worker.until(lambda: worker.link._outbox.on_the_way == wire.WINDOW)
        worker.link.trip(TRIP)
        await desk.until(lambda: desk.trips == [TRIP])
        assert desk.ticks == []


@pytest.mark.parametrize("known", [snapshot(9, phase=Phase.DEGRADED), snapshot(9, epoch=2)])
async def test_a_trip_is_told_again_after_each_reconnect_until_it_is_known(
    desk: Desk, tmp_path: Path, known: Snapshot
) -> None:
    async with worker_on(desk, tmp_path) as worker:
        await desk.hub.close()
        worker.link.trip(TRIP)
        await desk.restart(snapshot(2))
        await desk.until(lambda: len(desk.trips) == 1)
        await desk.hub.close()
        await desk.restart(snapshot(3))
        await desk.until(lambda: len(desk.trips) == 2)
        desk.hub.broadcast(known)
        await worker.numbered(9)
        await desk.hub.close()
        await desk.restart(known)
        await worker.until(lambda: worker.link.connected and len(desk.hub.workers) == 1)
        worker.count()
        await desk.until(lambda: desk.total == 1)
        assert len(desk.trips) == 2


# Who misbehaves


async def raw(desk: Desk, *frames: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(desk.path)
    for frame in frames:
        writer.write(frame)
    return reader, writer


def hello(version: int = wire.VERSION) -> bytes:
    return encode(wire.HELLO, Hello(version, "raw", 9, 1))


def tick(seq: int) -> bytes:
    return encode(wire.TICK, to_wire(Tick("raw", seq, 0.0, counters={FAMILY: {LABELS: 1}})))


@pytest.mark.parametrize(
    "frame",
    [
        tick(1),
        hello(version=99),
        encode(wire.HELLO, ["too short"]),
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x02\xc1\xc1",
    ],
    ids=["no greeting", "another version", "half a greeting", "a huge frame", "no msgpack"],
)
async def test_who_does_not_greet_is_cut_off(desk: Desk, frame: bytes) -> None:
    reader, writer = await raw(desk, frame)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    assert desk.hub.workers == []


async def test_who_says_nothing_is_cut_off(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "GREETING_TIMEOUT", 0.05)
    reader, writer = await raw(desk)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_who_sends_more_than_the_window_is_cut_off_and_what_was_in_it_is_not_lost(desk: Desk) -> None:
    desk.open.clear()
    reader, writer = await raw(desk, hello(), *(tick(seq) for seq in range(1, wire.WINDOW + 3)))
    async with asyncio.timeout(5):
        while await reader.read(1 << 16):
            pass
    writer.close()


async def test_what_a_worker_sent_before_its_end_is_taken(desk: Desk) -> None:
    _, writer = await raw(desk, hello(), *(tick(seq) for seq in range(1, 6)))
    writer.close()
    await desk.until(lambda: desk.total == 5)


async def test_an_earlier_life_is_heard_out_before_the_next_one(desk: Desk) -> None:
    _, earlier = await raw(desk, hello())
    reader, later = await raw(desk, hello(), tick(9))
    async with asyncio.timeout(5):
        await reader.readexactly(4)  # its snapshot has come, so it is known
    earlier.write(tick(8))
    earlier.close()
    await desk.until(lambda: desk.total == 2)
    assert [each.seq for each, _ in desk.ticks] == [8, 9]
    later.close()


async def test_an_earlier_life_that_does_not_end_holds_the_next_one_up_for_a_while_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "GREETING_TIMEOUT", 0.05)
    _, earlier = await raw(desk, hello())
    await desk.until_known(1)
    _, later = await raw(desk, hello(), tick(9))
    await desk.until(lambda: desk.total == 1)
    earlier.close()
    later.close()


async def test_what_a_killed_worker_owed_is_told_with_the_next_ones_first_report(desk: Desk, tmp_path: Path) -> None:
    first = Worker(desk.path, tmp_path / "worker-1")
    await first.link.start(5.0)
    first.link.owed.made[first.link.owed.place("refunds")] = 3  # made, and never reported
    first.count(1)
    await desk.until(lambda: desk.total == 1)
    await first.link.close(1.0)
    async with worker_on(desk, tmp_path) as second:
        assert desk.total == 1
        second.count(1)
        await desk.until(lambda: desk.total == 2)
    told = [tick.counters[OWED.name] for tick, _ in desk.ticks if OWED.name in tick.counters]
    assert told == [{("refunds", first.link.source, "1"): 3}]
    assert owed.find(tmp_path / "worker-1") is None


async def test_a_worker_that_ends_in_order_owes_nothing(desk: Desk, tmp_path: Path) -> None:
    async with worker_on(desk, tmp_path) as worker:
        worker.link.owed.made[worker.link.owed.place("refunds")] = 1
        worker.link.report({}, {}, {}, [Parcel([b"x"], {"refunds": 1})], {})
    assert not (tmp_path / "worker-1" / "owed").exists()


async def test_a_tick_that_nobody_can_read_is_acknowledged_so_that_it_does_not_come_for_ever(desk: Desk) -> None:
    reader, writer = await raw(desk, hello(), encode(wire.TICK, ["nonsense"]), tick(1))
    decoder, acks = Decoder(), list[int]()
    async with asyncio.timeout(5):
        while acks[-1:] != [2]:
            acks += [payload for kind, payload in decoder.feed(await reader.read(1 << 16)) if kind == wire.ACK]
    assert desk.total == 1
    writer.close()


async def test_who_does_not_read_is_cut_off(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MAX_UNREAD", 1 << 16)
    reader, writer = await raw(desk, hello())
    await reader.readexactly(4)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport can
    async with asyncio.timeout(10):
        while desk.hub.workers:
            for number in range(100):
                desk.hub.broadcast(snapshot(number))
            await asyncio.sleep(0)
    writer.transport.abort()


async def test_no_more_connections_than_the_bound(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MAX_CONNECTIONS", 1)
    reader, writer = await raw(desk, hello())
    await reader.readexactly(4)
    second, other = await raw(desk)
    async with asyncio.timeout(5):
        assert await second.read() == b""
    assert len(desk.hub.workers) == 1
    writer.close()
    other.close()


async def test_a_socket_left_by_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "link.sock"
    server = await asyncio.start_unix_server(lambda _r, w: w.close(), path)
    server.close()
    path.touch()
    desk = Desk(path)
    await desk.restart(snapshot(1))
    await desk.hub.close()
    assert not path.exists()
