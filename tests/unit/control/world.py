"""A small configuration, and a store that can be away, slow, or ahead of us: what tests of the control plane share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.control import configuration
from proxy.control.configuration import Loaded
from proxy.model.errors import StoreUnavailableError
from proxy.model.measures import OUTCOMES
from proxy.model.rollouts import ArmCount, Batch, Event, Evidence, RolloutState
from proxy.model.tick import Labels, Tick
from proxy.storage.connection import connect
from proxy.storage.pairs import PairStore
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


def outcomes(seq: int = 1, *, source: str = "w", stage: str = "canary", epoch: int = 1, **counts: int) -> Tick:
    """A tick with evidence, as in `agent_failed=3, legacy_ok=5`."""
    rows: dict[Labels, int] = {}
    for name, count in counts.items():
        arm, _, result = name.partition("_")
        rows[("refunds", "v1", stage, str(epoch), arm, result)] = count
    return Tick(source, seq, 0.0, counters={OUTCOMES.name: rows})


class Store:
    """The real one, through which a test can reach in. `away` lets each call fail; `hold` lets calls wait."""

    def __init__(self, states: StateStore, pairs: PairStore) -> None:
        self._states, self._pairs = states, pairs
        self.away = False
        self.waiting = asyncio.Event()
        self._held, self._release = "", asyncio.Event()

    def hold(self, call: str) -> asyncio.Event:
        """Calls of this name wait until the event is set; `waiting` is set when one does."""
        self._held, self._release = call, asyncio.Event()
        self.waiting.clear()
        return self._release

    async def load(self, route: str) -> RolloutState | None:
        await self._reach("load")
        return await self._states.load(route)

    async def save(self, state: RolloutState, event: Event | None) -> None:
        await self._reach("save")
        await self._states.save(state, event)

    async def evidence(self, route: str, version: str, epoch: int, stage: str) -> Evidence:
        await self._reach("evidence")
        return await self._states.evidence(route, version, epoch, stage)

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
        await self._pairs.write([Batch("refunds", f"fill-{stage}", seq, {("v1", epoch, stage): evidence})])

    async def _reach(self, call: str) -> None:
        if call == self._held:
            self.waiting.set()
            await self._release.wait()
        if self.away:
            raise StoreUnavailableError("the store does not answer: it is away")


@asynccontextmanager
async def open_store(valkey: Valkey) -> AsyncIterator[Store]:
    redis = connect(valkey.url)
    try:
        yield Store(StateStore(redis), PairStore(redis))
    finally:
        await redis.aclose()
