"""A worker in the test's own loop, between two scripted upstreams."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from proxy.gateway.link import Link
from proxy.gateway.service import Worker
from proxy.model.link import Trip
from proxy.model.measures import OUTCOMES, Result
from proxy.model.records import Callback, Parcel, Record, is_callback, split, unpack, unpack_callback
from proxy.model.snapshot import (
    BUCKETS,
    KeySource,
    LimitsSpec,
    ListenSpec,
    MatchSpec,
    RecordSpec,
    RolloutSpec,
    RouteSpec,
    ShadowSpec,
    Snapshot,
    Timeouts,
    UpstreamSpec,
)
from proxy.model.tick import Counts, Gauges, Histograms, Labels
from proxy.model.words import Phase
from tests.certificates import Authority
from tests.fakes import FakeClock
from tests.integration.gateway.peers import Client, Message, ScriptedUpstream, connect


class Told(Link):
    """The link's other end: what the worker reported, added up."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[tuple[str, ...]]] = {}
        self.records: list[Record] = []
        self.callbacks: list[Callback] = []
        self.gauges: Gauges = {}
        self.histograms: Histograms = {}
        self.trips: list[Trip] = []
        self.slots: list[tuple[str, int, int]] = []
        """(result, slot, count) of the outcomes."""
        self.users: dict[str, list[int]] = {}
        """By arm: the buckets of the users that it served."""

    def report(
        self,
        counters: Counts,
        histograms: Histograms,
        gauges: Gauges,
        parcels: list[Parcel],
        users: dict[Labels, bytes],
    ) -> None:
        for name, rows in counters.items():
            known = self.counts.setdefault(name, Counter())
            for labels, count in rows.items():
                known[labels[:-1] if name == OUTCOMES.name else labels] += count  # the slot only matters to the guard
            if name == OUTCOMES.name:
                self.slots += [(labels[-2], int(labels[-1]), count) for labels, count in rows.items() if labels[-1]]
        for labels, packed in users.items():
            buckets = [int.from_bytes(packed[at : at + 3], "big") for at in range(0, len(packed), 3)]
            self.users.setdefault(labels[-1], []).extend(buckets)
        self.gauges = gauges or self.gauges
        for name, cells in histograms.items():
            self.histograms[name] = {**self.histograms.get(name, {}), **cells}
        for fields in split(b"".join([record for parcel in parcels for record in parcel.records])):
            if is_callback(fields):
                self.callbacks.append(unpack_callback(fields))
            else:
                self.records.append(unpack(fields))

    def trip(self, trip: Trip) -> None:
        self.trips.append(trip)


LIMITS = LimitsSpec()
LISTEN = ListenSpec()
TIMEOUTS = Timeouts(connect=0.5, response=5.0, idle=5.0)
ROLLOUT = RolloutSpec(
    agent="agent",
    version="v1",
    stage="shadow",
    phase=Phase.PROGRESSING,
    epoch=1,
    weight=0,
    key=(KeySource("header", "x-user-id"),),
    salt="refunds-1",
    shadow=ShadowSpec(share=0),
    record=RecordSpec(share=0),
)


@dataclass(slots=True)
class World:
    """A gateway and its surroundings. `asks` opens a client; `settle` brings what was counted into `told`."""

    human: ScriptedUpstream
    agent: ScriptedUpstream
    port: int
    told: Told
    rollout: RolloutSpec
    limits: LimitsSpec = LIMITS
    timeouts: Timeouts = TIMEOUTS
    agent_timeouts: Timeouts = TIMEOUTS
    extra: dict[str, Any] = field(default_factory=dict)
    """Of the agent's upstream."""
    human_extra: dict[str, Any] = field(default_factory=dict)
    listen: ListenSpec = LISTEN
    beside: dict[str, Any] = field(default_factory=dict)
    """Of the snapshot."""
    number: int = 0
    worker: Worker = field(init=False)

    def use(self, **changes: Any) -> None:
        """A new snapshot; changes are of the rollout."""
        self.rollout = replace(self.rollout, **changes)
        self.worker.use(self.snapshot())

    def snapshot(self) -> Snapshot:
        self.number += 1
        return Snapshot(
            number=self.number,
            routes=(
                RouteSpec("refunds", MatchSpec("/refunds"), "human", self.rollout),
                RouteSpec("plain", MatchSpec("/plain"), "human"),
            ),
            upstreams=(
                UpstreamSpec("human", "127.0.0.1", self.human.port, timeouts=self.timeouts, **self.human_extra),
                UpstreamSpec("agent", "127.0.0.1", self.agent.port, timeouts=self.agent_timeouts, **self.extra),
            ),
            limits=self.limits,
            listen=self.listen,
            **self.beside,
        )

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with connect(self.port) as client:
            yield client

    async def ask(self, *args: Any, **kwargs: Any) -> Message:
        """One request on a connection of its own."""
        async with connect(self.port) as client:
            return await client.ask(*args, **kwargs)

    def outcomes(self) -> Counter[tuple[str, ...]]:
        """What the arms did, as far as it is evidence."""
        ends = (Result.OK, Result.FAILED, Result.SLOW)
        return Counter({labels: count for labels, count in self.counts(OUTCOMES.name).items() if labels[-1] in ends})

    def still_open(self) -> int:
        """Requests that arrived at an arm, have not ended there and were not withdrawn, as the guard sees it."""
        self.worker.report()
        open_by_slot: Counter[int] = Counter()
        for result, slot, count in self.told.slots:
            if result == Result.ARRIVED:
                open_by_slot[slot] += count
            elif result != Result.SLOW:
                open_by_slot[slot] -= count
        assert all(count >= 0 for count in open_by_slot.values())
        return open_by_slot.total()

    def counts(self, family: str) -> Counter[tuple[str, ...]]:
        self.worker.report()
        return self.told.counts.get(family, Counter())

    def fates(self) -> dict[str, int]:
        return {labels[1]: count for labels, count in self.counts("shadow_total").items()}

    async def records(self, count: int) -> list[Record]:
        """The records, as soon as there are `count`."""

        def there() -> bool:
            self.worker.report()
            return len(self.told.records) >= count

        await until(there)
        return self.told.records


async def until(condition: Any, seconds: float = 5.0) -> None:
    """Wait until the condition holds; fail when it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    human, agent = ScriptedUpstream(), ScriptedUpstream()
    await human.start()
    await agent.start()
    told = Told()
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    world = World(human, agent, sock.getsockname()[1], told, ROLLOUT)
    world.worker = worker = Worker(FakeClock(), world.snapshot())
    worker.link = told
    await worker.listen(sock)
    yield world
    await worker.drain(0.0)
    await human.stop()
    await agent.stop()


SHADOW_ALL = ShadowSpec(share=BUCKETS)
RECORD_ALL = RecordSpec(share=BUCKETS)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The event loop finds nothing to complain of."""
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
