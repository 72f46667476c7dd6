import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from redis import asyncio as aredis
from structlog.testing import capture_logs

from proxy.model.errors import ConflictError, StoreFormatError, StoreUnavailableError
from proxy.model.rollouts import ArmCount, Batch, Event, Evidence, RolloutState
from proxy.model.words import Phase
from proxy.rollout import codec
from proxy.storage import keys, pairs, rollouts
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
        (b'{"format": %d, "revision": 0}' % (codec.FORMAT + 1), "has a format that this Crossfade does not know"),
        (b'{"format": 0, "revision": 0}', "has a format that this Crossfade does not know"),
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


async def test_a_state_of_an_older_format_is_replaced(store: StateStore, redis: aredis.Redis) -> None:
    await store.save(FIRST, None)
    older = orjson.loads(await redis.get(keys.state("refunds")) or b"") | {"format": 1}
    await redis.set(keys.state("refunds"), orjson.dumps(older))
    await store.save(SECOND, None)
    assert await store.load("refunds") == SECOND


async def test_an_operator_can_read_the_state(store: StateStore, redis: aredis.Redis) -> None:
    await store.save(FIRST, None)
    found: dict[str, Any] = orjson.loads(await redis.get(keys.state("refunds")) or b"")
    assert (found["format"], found["revision"], found["phase"]) == (codec.FORMAT, 1, "progressing")


async def test_evidence_is_what_the_batches_added(store: StateStore, redis: aredis.Redis) -> None:
    seen = Evidence(ArmCount(10, 1, 2), ArmCount(5, 3, 1), 3, 1, 1)
    await PairStore(redis).write([Batch("refunds", "w1", seq, {("v1", 1, "shadow"): seen}) for seq in (1, 2)])
    assert await store.evidence("refunds", "v1", 1, "shadow") == Evidence(
        ArmCount(20, 2, 4), ArmCount(10, 6, 2), 6, 2, 2
    )
    assert await store.evidence("refunds", "v1", 2, "shadow") == Evidence()


async def test_many_states_are_loaded_at_once_and_a_bad_one_costs_no_other(
    store: StateStore, redis: aredis.Redis
) -> None:
    await store.save(FIRST, None)
    await store.save(replace(FIRST, route="claims"), None)
    await redis.set(keys.state("garbage"), "banana")
    await redis.sadd(keys.state("set"), "banana")
    claims, garbage, nothing, wrong_type, refunds = await store.load_all(
        ["claims", "garbage", "nothing", "set", "refunds"]
    )
    assert (claims, nothing, refunds) == (replace(FIRST, route="claims"), None, FIRST)
    assert isinstance(garbage, StoreFormatError)
    assert garbage.key == keys.state("garbage")
    assert isinstance(wrong_type, StoreFormatError)
    assert wrong_type.key == keys.state("set")
    assert await store.load_all([]) == []


async def test_a_store_that_is_away_has_no_states(store: StateStore, valkey: Valkey) -> None:
    valkey.kill()
    with pytest.raises(StoreUnavailableError):
        await store.load_all(["refunds", "claims"])


async def test_the_guards_memory_comes_back_and_does_not_stay_for_ever(store: StateStore, redis: aredis.Redis) -> None:
    assert await store.load_guard("refunds") is None
    for memory in (b"\x00\xff first", b"second"):
        await store.save_guard("refunds", memory)
        assert await store.load_guard("refunds") == memory
    assert 86_000 < await redis.ttl(keys.guard("refunds")) <= 86_400


async def test_a_guards_memory_that_is_too_large_is_not_kept_and_told_once(store: StateStore) -> None:
    await store.save_guard("refunds", b"small")
    with capture_logs() as logs:
        for _ in range(2):
            await store.save_guard("refunds", b"x" * (rollouts.MAX_GUARD_BYTES + 1))
    assert await store.load_guard("refunds") == b"small"
    assert [(entry["event"], entry["route"]) for entry in logs] == [("guard_not_kept", "refunds")]


async def test_a_guards_place_that_is_taken_is_left_as_it_is(store: StateStore, redis: aredis.Redis) -> None:
    await redis.sadd(keys.guard("refunds"), "banana")
    with pytest.raises(StoreFormatError, match="guard: is a set and should be a string"):
        await store.save_guard("refunds", b"memory")
    with pytest.raises(StoreFormatError, match="guard: holds another type of value"):
        await store.load_guard("refunds")
    assert await redis.smembers(keys.guard("refunds")) == {b"banana"}


async def with_evidence(redis: aredis.Redis, *stages: tuple[str, int, str]) -> None:
    writer = PairStore(redis)
    for seq, stage in enumerate(stages, 1):
        await writer.write([Batch("refunds", "w1", seq, {stage: Evidence(ArmCount(1))})])


async def test_stages_with_evidence_are_listed_newest_first(store: StateStore, redis: aredis.Redis) -> None:
    assert await store.stages("refunds") == []
    old, new, again = ("v1:a", 1, "shadow"), ("v1:a", 1, "canary"), ("v2", 2, "shadow")
    await with_evidence(redis, old, new, old, again, old, again)
    assert await store.stages("refunds") == [again, new, old]
    assert await store.stages("refunds", limit=2) == [again, new]
    assert await store.evidence("refunds", *old) == Evidence(ArmCount(3))


async def test_a_late_stage_of_an_earlier_epoch_stays_behind(store: StateStore, redis: aredis.Redis) -> None:
    await with_evidence(redis, ("v2", 10, "shadow"), ("v1", 9, "canary"), ("v1", 9, "shadow"))
    assert await store.stages("refunds") == [("v2", 10, "shadow"), ("v1", 9, "shadow"), ("v1", 9, "canary")]


async def test_a_stage_whose_evidence_is_gone_is_not_listed(store: StateStore, redis: aredis.Redis) -> None:
    await with_evidence(redis, ("v1", 1, "shadow"), ("v1", 1, "canary"))
    await redis.delete(keys.totals("refunds", "v1", 1, "shadow"))
    assert await store.stages("refunds") == [("v1", 1, "canary")]


async def test_the_list_of_stages_is_bounded(
    store: StateStore, redis: aredis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "MAX_STAGES", 3)
    await with_evidence(redis, *(("v1", epoch, "shadow") for epoch in range(1, 6)))
    assert await redis.zcard(keys.stages("refunds")) == 3
    assert await store.stages("refunds") == [("v1", epoch, "shadow") for epoch in (5, 4, 3)]


async def test_a_member_that_is_no_stage_is_named(store: StateStore, redis: aredis.Redis) -> None:
    await redis.zadd(keys.stages("refunds"), {"banana": 1})
    with pytest.raises(StoreFormatError, match=r"stages: member b'banana' is no stage"):
        await store.stages("refunds")


async def test_users_of_another_type_or_layout_are_not_read(store: StateStore, redis: aredis.Redis) -> None:
    stage = ("refunds", "v1", 1, "shadow", 0)
    await redis.sadd(keys.users(*stage, "agent"), "banana")
    with pytest.raises(StoreFormatError, match="holds another type of value"):
        await store.users(*stage)
    await redis.delete(keys.users(*stage, "agent"))
    await redis.set(keys.layout("refunds"), "4")
    with pytest.raises(StoreFormatError, match="this Crossfade knows 3"):
        await store.users(*stage)
