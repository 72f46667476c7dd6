"""A small configuration, and a store that can be away, slow, or ahead of us: what tests of the control plane share."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from redis import asyncio as aredis

from proxy.control import configuration
from proxy.control.configuration import Loaded
from proxy.model.clock import Clock
from proxy.model.errors import StoreError, StoreUnavailableError
from proxy.model.measures import OUTCOMES
from proxy.model.rollouts import ArmCount, Batch, Event, Evidence, Report, RolloutState, Users
from proxy.model.tick import Labels, Tick
from proxy.storage.connection import connect
from proxy.storage.pairs import PairStore
from proxy.storage.replicas import ReplicaStore
from proxy.storage.rollouts import StateStore
from tests.valkey import Valkey

CONFIG = """\
upstreams:
  human: {url: "http://127.0.0.1:9001"}
  agent: {url: "http://127.0.0.1:9002"}
routes:
  - name: refunds
    match: {path_prefix: /refunds}
    legacy: human
    rollout:
      agent: agent
      version: v1
      salt: s
      compare: {decision: $.decision}
      gates: {min_samples: 10, agreement: 50%}
      guard: {latency: {slower_than: 5s}}
      stages:
        - {name: shadow, weight: 0, soak: 10s}
        - {name: canary, weight: 5, soak: 10s}
        - {name: full, weight: 100}
  - name: plain
    legacy: human
"""


def loaded(text: str = CONFIG) -> Loaded:
    return configuration.build("crossfade.yaml", text)


def outcomes(
    seq: int = 1, *, source: str = "w", stage: str = "canary", epoch: int = 1, slot: int = 0, **counts: int
) -> Tick:
    """A tick with evidence, as in `agent_failed=3, legacy_ok=5`: all of it arrived and ended in `slot`."""
    rows: dict[Labels, int] = {}
    for name, count in counts.items():
        arm, _, result = name.partition("_")
        arrived = ("refunds", "v1", stage, str(epoch), arm, "arrived", str(slot))
        rows[("refunds", "v1", stage, str(epoch), arm, result, str(slot))] = count
        rows[arrived] = rows.get(arrived, 0) + (count if result != "slow" else 0)
    return Tick(source, seq, 0.0, counters={OUTCOMES.name: rows})


class Lease:
    """Of one replica: whether it holds the lease, or cannot know who does."""

    def __init__(self, *, leads: bool = True) -> None:
        self.leads = leads
        self.known = True

    @property
    def may_roll_back(self) -> bool:
        return self.leads or not self.known


class Store:
    """The real one, through which a test can reach in. `away` lets each call fail; `hold` lets calls wait. Unless it is
    `quiet`, the agent has had one request more each time that its evidence is asked for: soak needs traffic."""

    def __init__(self, redis: aredis.Redis) -> None:
        self.redis = redis
        self._states, self._pairs = StateStore(redis), PairStore(redis)
        self.away = self.quiet = False
        self._trickle = 0
        self.waiting = asyncio.Event()
        self.held = 0
        self._held, self._release = "", asyncio.Event()

    def hold(self, call: str) -> asyncio.Event:
        """Calls of this name wait until the event is set; `waiting` is set when one does."""
        self._held, self._release = call, asyncio.Event()
        self.waiting.clear()
        return self._release

    async def load(self, route: str) -> RolloutState | None:
        await self.reach("load")
        return await self._states.load(route)

    async def load_all(self, routes: Sequence[str]) -> list[RolloutState | StoreError | None]:
        await self.reach("load_all")
        return await self._states.load_all(routes)

    async def save(self, state: RolloutState, event: Event | None) -> None:
        await self.reach("save")
        await self._states.save(state, event)

    async def evidence(self, route: str, version: str, epoch: int, stage: str) -> Evidence:
        await self.reach("evidence")
        seen = await self._states.evidence(route, version, epoch, stage)
        if self.quiet:
            return seen
        self._trickle += 1
        return replace(seen, agent=replace(seen.agent, requests=seen.agent.requests + self._trickle))

    async def users(self, route: str, version: str, epoch: int, stage: str, weight: int) -> Users:
        await self.reach("users")
        return await self._states.users(route, version, epoch, stage, weight)

    async def load_guard(self, route: str) -> bytes | None:
        await self.reach("load_guard")
        return await self._states.load_guard(route)

    async def save_guard(self, route: str, data: bytes) -> None:
        await self.reach("save_guard")
        await self._states.save_guard(route, data)

    async def history(self, route: str, limit: int = 100) -> list[Event]:
        return await self._states.history(route, limit)

    async def kinds(self) -> list[str]:
        """What moved the rollout, oldest first."""
        return [event.kind for event in reversed(await self.history("refunds"))]

    async def stored(self) -> RolloutState:
        state = await self._states.load("refunds")
        assert state is not None
        return state

    async def someone_else_saves(self, state: RolloutState, event: Event | None = None) -> None:
        await self._states.save(state, event)

    async def fill(self, stage: str, *, epoch: int = 1, seq: int = 1, agreeing: int = 100) -> None:
        """Evidence with which every gate but the soak passes."""
        evidence = Evidence(ArmCount(agreeing), ArmCount(agreeing), matched=agreeing)
        seen = {("v1", epoch, "canary", 5_000): (frozenset(range(5, 100)), frozenset(range(5)))}
        batch = Batch("refunds", f"fill-{stage}", seq, {("v1", epoch, stage): evidence}, seen)
        await self._pairs.write([batch])

    async def disagree(self, stage: str, *, epoch: int = 1, seq: int = 2) -> None:
        """Evidence with which agreement fails."""
        evidence = Evidence(ArmCount(1_000), ArmCount(1_000), mismatched=1_000)
        await self._pairs.write([Batch("refunds", f"fill-{stage}", seq, {("v1", epoch, stage): evidence})])

    async def reach(self, call: str) -> None:
        if call == self._held:
            self.waiting.set()
            self.held += 1
            await self._release.wait()
        if self.away:
            raise StoreUnavailableError("the store does not answer: it is away")


class Companions(ReplicaStore):
    """What replicas share, in the same store."""

    def __init__(self, store: Store, clock: Clock, source: str) -> None:
        super().__init__(store.redis, clock, source)
        self._store = store

    async def lead(self) -> int:
        await self._store.reach("lead")
        return await super().lead()

    async def tell(self, reports: Sequence[Report]) -> None:
        await self._store.reach("tell")
        await super().tell(reports)


@asynccontextmanager
async def open_store(valkey: Valkey) -> AsyncIterator[Store]:
    redis = connect(valkey.url)
    try:
        assert isinstance(redis, aredis.Redis)
        yield Store(redis)
    finally:
        await redis.aclose()
