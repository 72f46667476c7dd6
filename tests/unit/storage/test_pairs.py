import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis import asyncio as aredis
from structlog.testing import capture_logs

from proxy.model.errors import StoreFormatError, StoreUnavailableError
from proxy.model.rollouts import ANOTHER, OTHER, ArmCount, Batch, Evidence, Kept, Users
from proxy.storage import keys, totals
from proxy.storage.connection import ask, connect
from proxy.storage.pairs import PairStore
from proxy.storage.reading import PairArchive
from proxy.storage.rollouts import StateStore
from proxy.telemetry.tasks import spawn, stop
from tests.valkey import Valkey

STAGE = ("v1", 1, "canary")


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[aredis.Redis]:
    client = connect(valkey.url, timeout=2.0)
    assert isinstance(client, aredis.Redis)
    yield client
    await client.aclose()


@pytest.fixture
def store(redis: aredis.Redis) -> PairStore:
    return PairStore(redis)


def batch(seq: int, *verdicts: str, route: str = "refunds", source: str = "w1", **more: Any) -> Batch:
    """A batch with one pair for each verdict, and evidence that counts the pairs as requests."""
    documents = tuple(
        Kept(word, orjson.dumps({"seq": seq, "n": n, "verdict": word})) for n, word in enumerate(verdicts)
    )
    evidence = Evidence(
        ArmCount(requests=len(verdicts)),
        matched=verdicts.count("matched"),
        mismatched=verdicts.count("mismatched"),
        incomparable=verdicts.count("incomparable"),
    )
    return Batch(route, source, seq, {STAGE: evidence}, pairs=documents, **more)


def full(seq: int) -> Batch:
    """A batch with something for each of the keys."""
    evidence = Evidence(ArmCount(1), matched=1, segments={"a": (1, 0)}, decisions={("x", "x"): 1})
    served = {(*STAGE, 5_000): (frozenset({70_000}), frozenset({7}))}
    return Batch("refunds", "w1", seq, {STAGE: evidence}, served, (Kept("matched", b"{}"),))


async def stored(store: PairStore, route: str = "refunds") -> list[tuple[int, int]]:
    """(seq, n) of all pairs, oldest first."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page, cursor = await PairArchive(store._redis).pairs(route, before=cursor)
        found += page
        if cursor is None:
            return [(pair["seq"], pair["n"]) for pair in reversed(found)]


async def test_a_batch_is_kept_whole_and_in_order(store: PairStore, redis: aredis.Redis) -> None:
    assert await store.write([batch(1, "matched", "mismatched"), batch(2, "matched")]) == [True, True]
    assert await stored(store) == [(1, 0), (1, 1), (2, 0)]
    assert await totals.read(redis, "refunds", *STAGE) == Evidence(ArmCount(3), ArmCount(), 2, 1, 0)


async def test_a_batch_sent_again_is_counted_once(store: PairStore, redis: aredis.Redis) -> None:
    batches = [batch(1, "matched"), batch(2, "mismatched")]
    assert await store.write(batches) == [True, True]
    assert await store.write(batches) == [False, False]
    assert await store.write([batch(2, "mismatched"), batch(3, "matched")]) == [False, True]
    assert await stored(store) == [(1, 0), (2, 0), (3, 0)]
    assert (await totals.read(redis, "refunds", *STAGE)).legacy.requests == 3


async def test_sources_and_routes_are_counted_apart(store: PairStore) -> None:
    batches = [batch(1, "matched"), batch(1, "matched", source="w2"), batch(1, "matched", route="other")]
    assert await store.write(batches) == [True, True, True]
    assert len(await stored(store)) == 2
    assert len(await stored(store, "other")) == 1


async def test_a_lost_reply_costs_nothing(valkey: Valkey, tmp_path: Path) -> None:
    async with drops_replies(valkey.url, tmp_path / "lossy") as (url, losses):
        client = connect(url, timeout=2.0)
        store = PairStore(client)
        losses.append(2)  # the write and the retry of redis-py
        with pytest.raises(StoreUnavailableError):
            await store.write([batch(1, "matched", "mismatched"), batch(2, "matched")])
        assert await store.write([batch(1, "matched", "mismatched"), batch(2, "matched")]) == [False, False]
        assert await stored(store) == [(1, 0), (1, 1), (2, 0)]
        assert (await totals.read(client, "refunds", *STAGE)).legacy.requests == 3
        await client.aclose()


async def test_a_batch_does_not_overtake_one_that_was_refused(store: PairStore, redis: aredis.Redis) -> None:
    # The first is refused for its evidence; the second has none and would pass, and its mark would hide the first.
    await redis.hset(keys.totals("refunds", *STAGE), "matched", "many")
    batches = [batch(1, "matched"), Batch("refunds", "w1", 2, pairs=(Kept("matched", b'{"seq":2,"n":0}'),))]
    with pytest.raises(StoreUnavailableError, match="the batch before this one is missing"):
        await store.write(batches)
    await redis.delete(keys.totals("refunds", *STAGE))
    assert await store.write(batches) == [True, True]
    assert await stored(store) == [(1, 0), (2, 0)]


async def test_a_server_that_lost_its_scripts_is_served_on(store: PairStore, redis: aredis.Redis) -> None:
    await store.write([batch(1, "matched")])
    await redis.script_flush()
    assert await store.write([batch(2, "matched")]) == [True]


async def test_pairs_are_capped_and_so_are_the_indices(store: PairStore, redis: aredis.Redis) -> None:
    for seq in range(1, 41):
        await store.write([batch(seq, *["matched"] * 20, max_pairs=100)])
    # The server trims whole nodes of up to 100 entries.
    assert 100 <= await redis.xlen(keys.pairs("refunds")) <= 200
    assert 100 <= await redis.xlen(keys.verdict("refunds", "matched")) <= 200
    assert (await stored(store))[-1] == (40, 19)
    assert (await totals.read(redis, "refunds", *STAGE)).matched == 800


async def test_pairs_are_bounded_in_bytes_too_and_what_that_costs_is_told(
    redis: aredis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str, int]] = []
    store = PairStore(redis, lambda *what: told.append(what))
    for seq in range(1, 101):
        large = Batch("refunds", "w1", seq, pairs=(Kept("matched", b'"%s"' % (b"x" * 50_000)),), max_bytes=1 << 20)
        assert await store.write([large]) == [True]
    assert await store.write([large]) == [False]
    assert {(route, reason) for route, reason, _ in told} == {("refunds", "store_bytes")}
    assert sum(pairs for *_, pairs in told) == 100 - await redis.xlen(keys.pairs("refunds"))
    assert await ask(redis, "MEMORY USAGE", keys.pairs("refunds"), "SAMPLES", 0) < 1.2 * (1 << 20)
    assert await redis.xlen(keys.pairs("refunds")) > 10


async def test_marks_and_totals_do_not_stay_for_ever(store: PairStore, redis: aredis.Redis) -> None:
    await store.write([full(1)])
    assert 6.9 * 86_400 < await redis.ttl(keys.seen("refunds", "w1")) <= 7 * 86_400
    for key in (keys.totals("refunds", *STAGE), keys.users("refunds", *STAGE, 5_000, "agent")):
        assert 399 * 86_400 < await redis.ttl(key) <= 400 * 86_400


async def test_names_beyond_the_bound_are_counted_as_others_and_told_once(
    store: PairStore, redis: aredis.Redis
) -> None:
    def of(seq: int, *numbers: int) -> Batch:
        segments = {f"s{n}": (2, 1) for n in numbers}
        decisions = {(f"s{n}", f"s{n}"): 1 for n in numbers} | {(f"s{n}", "no"): 1 for n in numbers}
        return Batch("refunds", "w1", seq, {STAGE: Evidence(segments=segments, decisions=decisions)})

    with capture_logs() as logs:
        await store.write([of(1, *range(60)), of(2, *range(40, 100)), of(3, 0, 100, 101), of(4, 100, 0)])
    found = await totals.read(redis, "refunds", *STAGE)
    assert len(found.segments) == 101
    assert found.segments["s0"] == (6, 3)
    assert found.segments["s40"] == (4, 2)
    assert found.segments[OTHER] == (6, 3)  # of two times s100, and s101
    assert len(found.decisions) == 102
    assert sum(found.decisions.values()) == 2 * (60 + 60 + 3 + 2)
    agreed = sum(count for (legacy, agent), count in found.decisions.items() if legacy == agent)
    assert agreed == 60 + 60 + 3 + 2  # nothing that differed counts as the same
    assert found.decisions[OTHER, ANOTHER] > 0
    assert [(entry["event"], entry["route"]) for entry in logs] == [("names_beyond_bound", "refunds")]


async def test_users_are_counted_once_however_often_they_are_told(store: PairStore, redis: aredis.Redis) -> None:
    def of(seq: int, source: str, legacy: set[int], agent: set[int], weight: int = 5_000) -> Batch:
        return Batch("refunds", source, seq, {}, {(*STAGE, weight): (frozenset(legacy), frozenset(agent))})

    edges = {0, 65_535, 65_536, 99_999}
    await store.write([of(1, "w1", edges, {3}), of(1, "w2", edges | {5}, set()), of(2, "w1", {7}, {3, 4}, 10_000)])
    states = StateStore(redis)
    assert await states.users("refunds", *STAGE, 5_000) == Users(5, 1)
    assert await states.users("refunds", *STAGE, 10_000) == Users(1, 2)
    assert await states.users("refunds", *STAGE, 25_000) == Users(0, 0)
    bits = keys.users("refunds", *STAGE, 5_000, "legacy")
    assert [await redis.getbit(bits, bucket) for bucket in (*sorted(edges), 5, 6)] == [1, 1, 1, 1, 1, 0]


async def test_all_users_that_there_can_be_fit_in_one_batch(store: PairStore, redis: aredis.Redis) -> None:
    everybody = frozenset(range(100_000))
    await store.write([Batch("refunds", "w1", 1, {}, {(*STAGE, 0): (everybody, everybody)})])
    assert await StateStore(redis).users("refunds", *STAGE, 0) == Users(100_000, 100_000)
    assert await redis.strlen(keys.users("refunds", *STAGE, 0, "agent")) == 12_500


@pytest.mark.parametrize(
    ("key", "put", "problem"),
    [
        (keys.layout("refunds"), ("SET", "4"), "is not 3, the layout that this Crossfade knows"),
        (keys.layout("refunds"), ("LPUSH", "1"), "is a list and should be a string"),
        (keys.seen("refunds", "w1"), ("SET", "banana"), "holds no sequence number"),
        (keys.seen("refunds", "w1"), ("SADD", "banana"), "is a set and should be a string"),
        (keys.pairs("refunds"), ("SET", "banana"), "is a string and should be a stream"),
        (keys.verdict("refunds", "mismatched"), ("SET", "banana"), "is a string and should be a stream"),
        (keys.totals("refunds", *STAGE), ("SET", "banana"), "is a string and should be a hash"),
        (keys.totals("refunds", *STAGE), ("HSET", "matched", "1.5"), "field matched is no count"),
        (keys.totals("refunds", *STAGE), ("HSET", "matched", "9" * 16), "field matched is no count"),
        (keys.totals("refunds", *STAGE), ("HSET", "segments", "few"), "field segments is no count"),
        (
            keys.totals("refunds", *STAGE),
            ("HSET", "segment:a:mismatched", "-1"),
            "field segment:a:mismatched is no count",
        ),
        (keys.totals("refunds", *STAGE), ("HSET", 'decision:["x","x"]', "x"), 'field decision:["x","x"] is no count'),
        (keys.stages("refunds"), ("SET", "banana"), "is a string and should be a zset"),
        (keys.users("refunds", *STAGE, 5_000, "agent"), ("SADD", "banana"), "is a set and should be a string"),
    ],
)
async def test_what_is_not_ours_is_refused_by_name_and_left_as_it_is(
    store: PairStore, redis: aredis.Redis, key: str, put: tuple[str, ...], problem: str
) -> None:
    command, *values = put
    await ask(redis, command, key, *values)
    before = await everything(redis)
    with pytest.raises(StoreFormatError) as caught:
        await store.write([full(1)])
    assert str(caught.value) == f"{key}: {problem}"
    assert caught.value.key == key
    assert await everything(redis) == before


async def test_an_unreachable_store_goes_before_a_bad_key(store: PairStore, redis: aredis.Redis) -> None:
    await redis.set(keys.pairs("refunds"), "banana")
    await store.write([batch(1, "matched", route="other")])
    await redis.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailableError, match="maxmemory"):
        await store.write([batch(1, "matched"), batch(2, "matched", route="other")])


async def everything(redis: aredis.Redis) -> dict[bytes, Any]:
    return {key: await ask(redis, "DUMP", key) for key in await ask(redis, "KEYS", "*")}


@contextlib.asynccontextmanager
async def drops_replies(url: str, path: Path) -> AsyncIterator[tuple[str, list[int]]]:
    """A unix socket before the store's. While the list holds a number, that many scripts' replies are swallowed and
    their connections closed: the store has done what it never could tell."""
    losses: list[int] = []
    links: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store_reader, store_writer = await asyncio.open_unix_connection(url.removeprefix("unix://"))
        links.update((writer, store_writer))
        scripts = False

        async def hand_on() -> None:
            nonlocal scripts
            while request := await reader.read(1 << 20):  # a script may come in pieces
                scripts = scripts or b"EVAL" in request
                store_writer.write(request)

        sending = spawn(hand_on(), "lossy")
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while reply := await store_reader.read(1 << 20):
                if scripts and losses and losses[0] > 0:
                    losses[0] -= 1
                    break
                writer.write(reply)
        await stop(sending)
        store_writer.close()
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    yield f"unix://{path}", losses
    server.close()
    for link in links:
        link.close()
    await asyncio.sleep(0)
