import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from redis import asyncio as aredis

from proxy.model.errors import ConflictError, StoreFormatError
from proxy.model.rollouts import ArmCount, Batch, Event, Evidence, RolloutState
from proxy.model.words import Phase
from proxy.storage import keys, rollouts
from proxy.storage.connection import connect
from proxy.storage.pairs import PairStore
from proxy.storage.rollouts import StateStore
from tests.valkey import Valkey

FIRST = RolloutState("refunds", "v1", Phase.PROGRESSING, 0, "shadow", 0, 100_000, epoch=1, revision=1, since=1e9)
SECOND = replace(FIRST, stage=1, stage_name="canary", weight=5_000, revision=2)


def event(kind: str, at: float = 1e9) -> Event:
    return Event(at, "refunds", "v1", kind, "ops", "because", ("progressing", "shadow", 0), ("paused", "shadow", 0))


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[aredis.Redis]:
    client = connect(valkey.url)
    assert isinstance(client, aredis.Redis)
    yield client
    await client.aclose()


@pytest.fixture
def store(redis: aredis.Redis) -> StateStore:
    return StateStore(redis)


async def test_nothing_is_stored_at_first(store: StateStore) -> None:
    assert await store.load("refunds") is None
    assert await store.history("refunds") == []
    assert await store.evidence("refunds", "v1", 1, "shadow") == Evidence()


async def test_a_state_and_its_event_come_back(store: StateStore) -> None:
    await store.save(FIRST, event("begin"))
    await store.save(SECOND, event("advance"))
    assert await store.load("refunds") == SECOND
    assert await store.history("refunds") == [event("advance"), event("begin")]
    assert await store.history("refunds", limit=1) == [event("advance")]


async def test_a_state_without_an_event_leaves_the_history_alone(store: StateStore) -> None:
    await store.save(FIRST, event("begin"))
    await store.save(replace(SECOND, soaked=12.5), None)
    assert (await store.history("refunds")) == [event("begin")]


async def test_the_same_state_again_is_saved_once(store: StateStore) -> None:
    await store.save(FIRST, event("begin"))
    await store.save(FIRST, event("begin"))
    assert await store.history("refunds") == [event("begin")]


@pytest.mark.parametrize(
    "late",
    [
        replace(FIRST, revision=1, reason="another first"),
        replace(SECOND, revision=2, reason="another second"),
        replace(SECOND, revision=4),
        replace(FIRST, revision=1),
    ],
)
async def test_who_comes_late_changes_nothing(store: StateStore, late: RolloutState) -> None:
    await store.save(FIRST, None)
    await store.save(SECOND, None)
    with pytest.raises(ConflictError, match="refunds: someone else moved this rollout"):
        await store.save(late, event("pause"))
    assert await store.load("refunds") == SECOND
    assert await store.history("refunds") == []


async def test_a_first_state_must_be_the_first(store: StateStore) -> None:
    with pytest.raises(ConflictError):
        await store.save(SECOND, None)
    assert await store.load("refunds") is None


async def test_of_many_who_move_at_once_one_wins(store: StateStore) -> None:
    await store.save(FIRST, None)
    moves = [store.save(replace(SECOND, actor=f"ops-{n}"), event("advance", n)) for n in range(10)]
    results = await asyncio.gather(*moves, return_exceptions=True)
    assert results.count(None) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 9
    winner = results.index(None)
    state = await store.load("refunds")
    assert state is not None
    assert state.actor == f"ops-{winner}"
    assert [move.at for move in await store.history("refunds")] == [winner]


async def test_the_history_is_capped(store: StateStore, redis: aredis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "MAX_HISTORY", 20)
    for revision in range(1, 301):
        await store.save(replace(FIRST, revision=revision), event("pause", revision))
    assert 20 <= await redis.xlen(keys.history("refunds")) <= 120
    assert (await store.history("refunds", limit=1))[0].at == 300


@pytest.mark.parametrize(
    ("garbage", "problem"),
    [
        (b"banana", "holds no state of a rollout"),
        (b"[]", "holds no state of a rollout"),
        (b'{"format": 1}', "holds no state of a rollout"),
        (b'{"format": 1, "revision": "0"}', "holds no state of a rollout"),
        (b'{"format": 2, "revision": 0}', "has a format that this Crossfade does not know"),
        (b'{"revision": 0}', "has a format that this Crossfade does not know"),
    ],
)
async def test_what_is_no_state_is_neither_read_nor_replaced(
    store: StateStore, redis: aredis.Redis, garbage: bytes, problem: str
) -> None:
    await redis.set(keys.state("refunds"), garbage)
    with pytest.raises(StoreFormatError, match=r"crossfade:\{refunds\}:state: "):
        await store.load("refunds")
    with pytest.raises(StoreFormatError) as caught:
        await store.save(FIRST, event("begin"))
    assert str(caught.value) == f"crossfade:{{refunds}}:state: {problem}"
    assert await redis.get(keys.state("refunds")) == garbage
    assert await redis.exists(keys.history("refunds")) == 0


@pytest.mark.parametrize("key", [keys.state("refunds"), keys.history("refunds")])
async def test_a_key_of_another_type_is_neither_read_nor_replaced(
    store: StateStore, redis: aredis.Redis, key: str
) -> None:
    await redis.sadd(key, "banana")
    with pytest.raises(StoreFormatError, match="is a set and should be"):
        await store.save(FIRST, event("begin"))
    assert await redis.smembers(key) == {b"banana"}
    with pytest.raises(StoreFormatError, match="holds another type of value"):
        await (store.load("refunds") if key.endswith("state") else store.history("refunds"))
    assert await redis.keys("*") == [key.encode()]


@pytest.mark.parametrize("fields", [{"event": b"banana"}, {"event": b'{"format": 9}'}, {"other": b"{}"}])
async def test_what_is_no_event_is_named(store: StateStore, redis: aredis.Redis, fields: dict[str, bytes]) -> None:
    await redis.xadd(keys.history("refunds"), fields)  # type: ignore[arg-type]  # invariant dict
    with pytest.raises(StoreFormatError, match=r"crossfade:\{refunds\}:history: "):
        await store.history("refunds")


async def test_an_operator_can_read_the_state(store: StateStore, redis: aredis.Redis) -> None:
    await store.save(FIRST, None)
    found: dict[str, Any] = orjson.loads(await redis.get(keys.state("refunds")) or b"")
    assert (found["format"], found["revision"], found["phase"]) == (1, 1, "progressing")


async def test_evidence_is_what_the_batches_added(store: StateStore, redis: aredis.Redis) -> None:
    seen = Evidence(ArmCount(10, 1, 2), ArmCount(5, 3, 1), 3, 1, 1)
    await PairStore(redis).write([Batch("refunds", "w1", seq, {("v1", 1, "shadow"): seen}) for seq in (1, 2)])
    assert await store.evidence("refunds", "v1", 1, "shadow") == Evidence(
        ArmCount(20, 2, 4), ArmCount(10, 6, 2), 6, 2, 2
    )
    assert await store.evidence("refunds", "v1", 2, "shadow") == Evidence()
