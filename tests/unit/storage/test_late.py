"""The scripts by themselves: what is taken away and added, what is refused, and that nothing is done by halves."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.model.errors import StoreError, StoreFormatError
from proxy.model.rollouts import ANOTHER, OTHER, Batch, Evidence, Kept
from proxy.storage import keys, totals
from proxy.storage.connection import connect
from proxy.storage.late import Change, Counts, LateStore, Settling
from proxy.storage.pairs import PairStore
from proxy.storage.rollouts import StateStore
from proxy.storage.tally import MAX_NAMED
from tests.valkey import Valkey

STAGE = ("v1", 1, "shadow")
ROUTE = "refunds"
FAR = 4_000_000_000.0
ONE = Evidence(matched=1, segments={"a": (1, 0)}, decisions={("x", "x"): 1})
OTHERWISE = Evidence(mismatched=1, agent_yes=1, segments={"a": (0, 1)}, decisions={("y", "x"): 1})


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Any]:
    client = connect(valkey.url, timeout=2.0)
    yield client
    await client.aclose()


@pytest.fixture
async def store(redis: Any) -> LateStore:
    """With two open pairs and a decision that waits."""
    kept = tuple(Kept("pending", b"{}", refs=("r1",), until=FAR) for _ in range(2))
    await PairStore(redis).write([Batch(ROUTE, "w1", 1, pairs=kept)])
    await redis.delete(keys.outcomes(ROUTE))
    store = LateStore(redis)
    assert await store.put({ROUTE: [b"one"]}) == {ROUTE: 1}
    return store


async def pairs(store: LateStore) -> list[str]:
    (found,) = await store.find(ROUTE, ["r1"])
    return found


async def entry(store: LateStore) -> str:
    return (await store.inbox(ROUTE, "", 10))[0].id


def change(pair: str, **more: Any) -> Change:
    return Change(pair, more.pop("found", None), more.pop("becomes", b"closed"), FAR, STAGE, **more)


async def settle(store: LateStore, entry_id: str | None, *changes: Change) -> tuple[bool, bool, tuple[bool, ...]]:
    (reply,) = await store.settle(ROUTE, [Settling(entry_id, changes)], 1_000)
    return tuple(reply)  # type: ignore[return-value]


async def evidence(redis: Any) -> Evidence:
    return await totals.read(redis, ROUTE, *STAGE)


async def test_a_settling_is_done_once(store: LateStore, redis: Any) -> None:
    one, other = await pairs(store)
    first = await entry(store)
    changes = (change(one, verdict="matched", after=ONE), change(other, verdict="matched", after=ONE))
    assert await settle(store, first, *changes) == (True, False, (True, True))
    assert await settle(store, first, *changes) == (False, False, ())
    seen = await evidence(redis)
    assert (seen.matched, seen.segments, seen.decisions) == (2, {"a": (2, 0)}, {("x", "x"): 2})
    assert await redis.hmget(keys.totals(ROUTE, *STAGE), "segments", "decisions") == [b"1", b"1"]
    assert await redis.zcard(keys.pending(ROUTE)) == 0
    assert await redis.xlen(keys.verdict(ROUTE, "matched")) == 2
    assert await StateStore(redis).stages(ROUTE) == [STAGE]


async def test_one_that_found_another_state_changes_nothing(store: LateStore, redis: Any) -> None:
    one, other = await pairs(store)
    await settle(store, None, change(one, after=ONE))
    before = await redis.dump(keys.totals(ROUTE, *STAGE))
    stale = change(one, becomes=b"new", before=ONE, after=OTHERWISE)
    assert await settle(store, await entry(store), change(other, after=ONE), stale) == (False, True, ())
    assert await redis.dump(keys.totals(ROUTE, *STAGE)) == before
    assert (await store.read(ROUTE, [one, other]))[1].closed is None
    assert len(await store.inbox(ROUTE, "", 10)) == 1


async def test_evidence_moves_and_never_below_nothing(store: LateStore, redis: Any) -> None:
    one, _ = await pairs(store)
    await settle(store, None, change(one, after=ONE))
    await settle(store, None, change(one, found=b"closed", becomes=b"again", before=ONE, after=OTHERWISE))
    seen = await evidence(redis)
    assert (seen.matched, seen.mismatched, seen.agent_yes, seen.segments) == (0, 1, 1, {"a": (0, 1)})
    assert seen.decisions == {("x", "x"): 0, ("y", "x"): 1}
    await redis.delete(keys.totals(ROUTE, *STAGE))
    await settle(store, None, change(one, found=b"again", before=OTHERWISE))
    assert await evidence(redis) == Evidence()


async def test_what_was_counted_beyond_the_bound_is_taken_from_there(store: LateStore, redis: Any) -> None:
    names = {f"n{n}": (1, 0) for n in range(MAX_NAMED)}
    cells = {(f"n{n}", f"n{n}"): 1 for n in range(MAX_NAMED)}
    await PairStore(redis).write(
        [Batch(ROUTE, "w1", 2, {STAGE: Evidence(matched=MAX_NAMED, segments=names, decisions=cells)})]
    )
    one, _ = await pairs(store)
    await settle(store, None, change(one, after=OTHERWISE))
    seen = await evidence(redis)
    assert (seen.segments[OTHER], seen.decisions[OTHER, ANOTHER]) == ((0, 1), 1)
    await settle(store, None, change(one, found=b"closed", becomes=b"again", before=OTHERWISE, after=ONE))
    seen = await evidence(redis)
    assert (seen.segments[OTHER], seen.decisions[OTHER, ANOTHER], seen.decisions[OTHER, OTHER]) == ((1, 0), 0, 1)
    assert (seen.matched, len(seen.decisions)) == (MAX_NAMED + 1, MAX_NAMED + 2)


async def test_a_pair_that_is_gone_is_told_and_the_other_is_closed(store: LateStore, redis: Any) -> None:
    one, other = await pairs(store)
    await redis.xdel(keys.pairs(ROUTE), one)
    changes = (change(one, after=ONE), change(other, after=ONE))
    assert await settle(store, await entry(store), *changes) == (True, False, (False, True))
    assert (await evidence(redis)).matched == 1
    assert await redis.exists(keys.closed(ROUTE, one)) == 0
    assert await redis.zcard(keys.pending(ROUTE)) == 0


async def test_what_is_kept_of_a_closed_pair_goes_with_it(store: LateStore, redis: Any) -> None:
    one, _ = await pairs(store)
    await settle(store, None, change(one))
    assert await redis.expiretime(keys.closed(ROUTE, one)) == int(FAR)


@pytest.mark.parametrize(
    "key",
    [keys.outcomes(ROUTE), keys.pairs(ROUTE), keys.pending(ROUTE), keys.stages(ROUTE), keys.totals(ROUTE, *STAGE)],
)
async def test_what_is_not_ours_is_not_touched(store: LateStore, redis: Any, key: str) -> None:
    one, _ = await pairs(store)
    await redis.set(key, "banana")
    with pytest.raises(StoreFormatError) as caught:
        await settle(store, None, change(one, after=ONE))
    assert caught.value.key == key
    assert await redis.get(key) == b"banana"
    assert await redis.exists(keys.closed(ROUTE, one)) == 0


async def test_a_count_that_is_none_stops_all(store: LateStore, redis: Any) -> None:
    one, other = await pairs(store)
    await redis.hset(keys.totals(ROUTE, *STAGE), "mismatched", "banana")
    with pytest.raises(StoreFormatError):
        await settle(store, await entry(store), change(one, after=ONE), change(other, after=OTHERWISE))
    assert await redis.hgetall(keys.totals(ROUTE, *STAGE)) == {b"mismatched": b"banana"}
    assert len(await store.inbox(ROUTE, "", 10)) == 1


async def test_counts_of_each_route_and_what_is_wrong_with_one(store: LateStore, redis: Any) -> None:
    await redis.set(keys.pending("broken"), "banana")
    found = await store.counts([ROUTE, "broken", "nothing"])
    assert (found[ROUTE], found["nothing"]) == (Counts(1, 2, 0), Counts(0, 0, 0))
    assert isinstance(found["broken"], StoreFormatError)
    assert found["broken"].key == keys.pending("broken")


async def test_a_newer_layout_is_not_written_to(store: LateStore, redis: Any) -> None:
    await redis.set(keys.layout(ROUTE), keys.LAYOUT + 1)
    refused = await store.put({ROUTE: [b"two"], "other": [b"three"]})
    assert isinstance(refused[ROUTE], StoreError)
    assert refused["other"] == 1


async def test_a_decision_is_set_aside_once_and_only_while_its_pair_is_missing(store: LateStore) -> None:
    first = await entry(store)
    assert await store.set_aside(ROUTE, [(first, "r1", b"one")], 0.0) == [-1]
    assert await store.set_aside(ROUTE, [(first, "r2", b"one")] * 2, 0.0) == [1, 0]
    assert await store.give_up(ROUTE, 0.0, 10) == 0
    assert await store.give_up(ROUTE, FAR, 10) == 1
    assert await store.give_up(ROUTE, FAR, 10) == 0
