import base64
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis import asyncio as aredis

from proxy.model.errors import SealError, StoreFormatError, StoreUnavailableError
from proxy.model.snapshot import SealingKey
from proxy.storage import keys, steps
from proxy.storage.connection import connect
from proxy.storage.sealing import Sealer
from proxy.storage.steps import ERASED, KEPT, KNOWN, OVER, Bounds, Found, StepStore
from tests.valkey import Cluster, Valkey

TRACE = "0af7651916cd43dd8448eb211c80319c"
BOUNDS = Bounds(max_age=3600.0, max_traces=100, max_bytes=1 << 20)


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[aredis.Redis]:
    client = connect(valkey.url, timeout=2.0)
    assert isinstance(client, aredis.Redis)
    yield client
    await client.aclose()


@pytest.fixture
def store(redis: aredis.Redis) -> StepStore:
    return StepStore(redis, Sealer())


def span(number: int, parent: int = 0, **fields: Any) -> Found:
    step = {
        "id": f"{number:016x}",
        "parent": f"{parent:016x}" if parent else "",
        "kind": "tool",
        "name": f"t{number}",
        "start": 1_800_000_000_000_000_000 + number,
        "duration": 0.1,
        **fields,
    }
    return Found(step["id"], step["parent"], [step])


def link(number: int, parent: int) -> Found:
    return Found(f"{number:016x}", f"{parent:016x}" if parent else "", [])


def trace(number: int) -> str:
    return f"{number:032x}"


async def keep(store: StepStore, *found: Found, name: str = TRACE, bounds: Bounds = BOUNDS) -> list[int]:
    return (await store.keep("refunds", {name: list(found)}, bounds))[name].fates


async def names(store: StepStore, name: str = TRACE) -> list[str]:
    return [step["name"] for step in (await store.read("refunds", name)).steps]


async def test_steps_are_read_in_the_order_of_time_however_they_came(store: StepStore) -> None:
    assert await keep(store, span(3, 1), span(2, 1)) == [KEPT, KEPT]
    assert await keep(store, span(1)) == [KEPT]
    trail = await store.read("refunds", TRACE)
    assert [(step["name"], step["depth"]) for step in trail.steps] == [("t1", 0), ("t2", 1), ("t3", 1)]
    assert trail.totals["tool_calls"] == 3


async def test_a_trace_of_which_nothing_is_known_is_empty(store: StepStore) -> None:
    trail = await store.read("refunds", TRACE)
    assert (trail.steps, trail.totals["steps"], trail.totals["left_out"]) == ([], 0, 0)


async def test_a_span_that_is_sent_again_is_kept_once(store: StepStore) -> None:
    assert await keep(store, span(1), span(1)) == [KEPT, KNOWN]
    assert await keep(store, span(1, name="another"), span(2)) == [KNOWN, KEPT]
    assert await names(store) == ["t1", "t2"]


async def test_what_is_below_a_span_that_is_no_step_finds_its_place(store: StepStore) -> None:
    assert await keep(store, span(3, 2), link(2, 1), span(1), link(7, 0)) == [KEPT] * 4
    first, second = (await store.read("refunds", TRACE)).steps
    assert (second["parent"], second["depth"]) == (first["id"], 1)


async def test_routes_are_apart(store: StepStore) -> None:
    await keep(store, span(1))
    assert (await store.read("other", TRACE)).steps == []


async def test_a_trace_has_so_many_spans(store: StepStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MAX_SPANS", 2)
    assert await keep(store, span(1), span(2), span(3)) == [KEPT, KEPT, OVER]
    assert await keep(store, span(4), span(1)) == [OVER, KNOWN]
    trail = await store.read("refunds", TRACE)
    assert (len(trail.steps), trail.totals["left_out"]) == (2, 2)


async def test_a_trace_has_so_many_bytes(store: StepStore) -> None:
    big = [span(number, result=os.urandom(60_000).hex()) for number in range(1, 7)]
    assert await keep(store, *big) == [KEPT] * 4 + [OVER] * 2
    assert await keep(store, span(9)) == [KEPT]  # a small one still has room


async def test_links_are_bounded_too(store: StepStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MAX_LINKS", 1)
    assert await keep(store, link(1, 0), link(2, 1), span(3, 2)) == [KEPT, OVER, KEPT]
    assert (await store.read("refunds", TRACE)).totals["left_out"] == 0


async def test_a_route_has_so_many_traces_and_the_oldest_go(store: StepStore, redis: aredis.Redis) -> None:
    bounds = BOUNDS._replace(max_traces=3)
    displaced = 0
    for number in range(1, 6):
        kept = await store.keep("refunds", {trace(number): [span(1), span(2)]}, bounds)
        displaced += kept[trace(number)].displaced
    assert displaced == 4
    assert [await redis.exists(keys.steps("refunds", trace(number))) for number in range(1, 6)] == [0, 0, 1, 1, 1]
    assert await redis.zcard(keys.traces("refunds")) == 3


async def test_a_route_has_so_many_bytes_and_the_oldest_go(store: StepStore, redis: aredis.Redis) -> None:
    bounds = BOUNDS._replace(max_bytes=30_000)
    for number in range(1, 6):
        await store.keep("refunds", {trace(number): [span(1, result=os.urandom(10_000).hex())]}, bounds)
    assert [await redis.exists(keys.steps("refunds", trace(number))) for number in range(1, 6)] == [0, 0, 0, 1, 1]
    sizes = await redis.hgetall(keys.trace_bytes("refunds"))
    assert int(sizes.pop(b":total")) == sum(map(int, sizes.values())) < 30_000


async def test_steps_go_when_they_are_old(store: StepStore, redis: aredis.Redis) -> None:
    await keep(store, span(1))
    await keep(store, span(2))
    assert 3590 <= await redis.ttl(keys.steps("refunds", TRACE)) <= 3600
    await redis.zadd(keys.traces("refunds"), {TRACE: 1})  # it came long ago
    await keep(store, span(1), name=trace(1))
    assert await redis.zrange(keys.traces("refunds"), 0, -1) == [trace(1).encode()]
    sizes = await redis.hgetall(keys.trace_bytes("refunds"))
    assert sizes[b":total"] == sizes[trace(1).encode()]


async def test_what_was_erased_stays_away(store: StepStore, redis: aredis.Redis) -> None:
    await keep(store, span(1), span(2), link(3, 1))
    await keep(store, span(1), name=trace(1))
    assert await store.forget("refunds", [TRACE, trace(2)]) == 2
    assert await keep(store, span(3)) == [ERASED]
    assert await keep(store, span(3), name=trace(2)) == [ERASED]
    assert await names(store) == []
    assert await names(store, trace(1)) == ["t1"]
    assert await redis.zrange(keys.traces("refunds"), 0, -1) == [trace(1).encode()]


async def test_what_is_kept_is_sealed(redis: aredis.Redis) -> None:
    key = SealingKey("k1", base64.b64encode(os.urandom(32)).decode())
    store = StepStore(redis, Sealer([key]))
    await keep(store, span(1, result="the customer is Ann Example"))
    raw = await redis.hgetall(keys.steps("refunds", TRACE))
    assert not any(b"Ann" in value for value in raw.values())
    assert (await store.read("refunds", TRACE)).steps[0]["result"] == "the customer is Ann Example"
    with pytest.raises(SealError):
        await StepStore(redis, Sealer()).read("refunds", TRACE)


@pytest.mark.parametrize("key", [keys.steps("refunds", TRACE), keys.traces("refunds"), keys.trace_bytes("refunds")])
async def test_a_key_that_is_not_ours_is_left_alone(store: StepStore, redis: aredis.Redis, key: str) -> None:
    await redis.set(key, "mine")
    with pytest.raises(StoreFormatError):
        await keep(store, span(1))
    assert await redis.keys("*") == [key.encode()]


async def test_a_newer_layout_is_left_alone(store: StepStore, redis: aredis.Redis) -> None:
    await redis.set(keys.layout("refunds"), keys.LAYOUT + 1)
    with pytest.raises(StoreFormatError):
        await keep(store, span(1))


async def test_a_store_that_is_away_is_told(store: StepStore, valkey: Valkey) -> None:
    valkey.kill()
    with pytest.raises(StoreUnavailableError):
        await keep(store, span(1))


async def test_in_a_cluster_too(cluster: Cluster) -> None:
    client = connect(cluster.url)
    store = StepStore(client, Sealer())
    bounds = BOUNDS._replace(max_traces=2)
    try:
        for route in ("a", "b", "c"):
            for number in range(1, 4):
                await store.keep(route, {trace(number): [span(1)], trace(number + 10): [span(2)]}, bounds)
            assert (await store.read(route, trace(13))).steps
    finally:
        await client.aclose()
