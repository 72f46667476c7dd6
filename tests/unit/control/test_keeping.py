"""What goes by itself when its time is over, on a real store."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis import asyncio as aredis
from structlog.testing import capture_logs

from proxy.config.rollout_schema import Rollout
from proxy.control.batching import route_rules
from proxy.control.keeping import Keeper
from proxy.model.measures import PAIRS_DROPPED
from proxy.storage import keys, retention
from proxy.storage.connection import connect
from proxy.storage.erasure import REMEMBERED, ErasureStore
from proxy.storage.retention import RetentionStore
from proxy.storage.sealing import Sealer
from proxy.telemetry.metrics import Metrics
from tests.fakes import FakeClock
from tests.valkey import Valkey

ROUTE = "refunds"
DAY_MS = 86_400_000


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Any]:
    client = connect(valkey.url, timeout=5.0)
    assert isinstance(client, aredis.Redis)
    yield client
    await client.aclose()


class World:
    def __init__(self, redis: Any, **record: Any) -> None:
        self.redis, self.clock, self.leads, self.metrics = redis, FakeClock(), True, Metrics(process=False)
        self.keeper = Keeper(
            RetentionStore(redis), ErasureStore(redis, Sealer()), self.metrics, self.clock, lambda: self.leads
        )
        settings = {"agent": "a", "version": "v1", "salt": "s", "record": {"max_age": "10d", **record}}
        self.keeper.set_rules({ROUTE: route_rules(Rollout.model_validate(settings)), "idle": route_rules(
            Rollout.model_validate(settings)
        )})  # fmt: skip

    async def add(self, days_ago: float, *, pending: bool = False) -> str:
        """A pair of so long ago by the server's clock, with all that belongs to it."""
        seconds, _ = await self.redis.time()
        place = f"{int(seconds * 1000 - days_ago * DAY_MS)}-*"
        pair: str = (await self.redis.xadd(keys.pairs(ROUTE), {"pair": b"{}" + b" " * 2_000}, id=place)).decode()
        await self.redis.xadd(keys.verdict(ROUTE, "expired"), {"of": pair}, id=place)
        await self.redis.xadd(keys.escalations(ROUTE), {"id": "e", "pair": pair, "reason": "timeout"}, id=place)
        if pending:
            await self.redis.zadd(keys.pending(ROUTE), {pair: 4e9})
        return pair

    async def pairs(self) -> list[str]:
        return [place.decode() for place, _ in await self.redis.xrange(keys.pairs(ROUTE))]

    def dropped(self) -> dict[Any, float]:
        return dict(self.metrics._counters[PAIRS_DROPPED.name])


async def test_what_is_too_old_goes_where_nothing_new_comes(redis: Any) -> None:
    world = World(redis)
    for days in (30, 20, 11):
        await world.add(days, pending=True)
    young = [await world.add(9, pending=True), await world.add(1)]
    await world.keeper.round()
    assert await world.pairs() == young
    assert world.dropped() == {(ROUTE, "store_age"): 3}
    assert await redis.zrange(keys.pending(ROUTE), 0, -1) == [young[0].encode()]
    for stream in (keys.verdict(ROUTE, "expired"), keys.escalations(ROUTE)):
        assert await redis.xlen(stream) == 2
    await world.keeper.round()
    assert world.dropped() == {(ROUTE, "store_age"): 3}


async def test_all_of_it_may_go(redis: Any) -> None:
    world = World(redis)
    await world.add(30, pending=True)
    await world.keeper.round()
    assert await world.pairs() == []
    assert await redis.exists(keys.pending(ROUTE)) == 0


async def test_very_much_goes_a_piece_at_a_time(redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LIMIT", 10)
    world = World(redis)
    for number in range(60):
        await world.add(20 - number / 1000)
    await world.keeper.round()
    assert await world.pairs() == []
    assert world.dropped() == {(ROUTE, "store_age"): 60}


async def test_the_bound_of_bytes_holds_after_it_was_lowered(redis: Any) -> None:
    world = World(redis, max_bytes="64KiB")
    for number in range(100):
        await world.add(2 - number / 1000)
    await world.keeper.round()
    assert 5 < len(await world.pairs()) < 60
    assert world.dropped()[(ROUTE, "store_bytes")] > 40


async def test_an_erasure_is_remembered_for_so_long_and_no_longer(redis: Any) -> None:
    world = World(redis)
    now = world.clock.now()
    await redis.hset(keys.erased(ROUTE), mapping={"old": now - REMEMBERED - 1, "young": now - REMEMBERED + 60})
    await world.keeper.round()
    assert await redis.hkeys(keys.erased(ROUTE)) == [b"young"]


async def test_who_does_not_lead_keeps_off(redis: Any) -> None:
    world = World(redis)
    world.leads = False
    await world.add(30)
    await world.keeper.round()
    assert len(await world.pairs()) == 1


async def test_a_foreign_key_of_one_route_is_said_once_and_holds_up_no_other(redis: Any) -> None:
    world = World(redis)
    await redis.set(keys.pairs("idle"), "of somebody else")
    await world.add(30)
    with capture_logs() as logs:
        await world.keeper.round()
        await world.keeper.round()
    assert await world.pairs() == []
    assert [(line["event"], line["route"]) for line in logs] == [("not_swept", "idle")]
