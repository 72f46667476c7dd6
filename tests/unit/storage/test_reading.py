"""Pairs as they are read, from a real server: pages, verdicts that change, what is gone, what does not open."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from redis import asyncio as aredis

from proxy.model.errors import StoreFormatError
from proxy.model.rollouts import Batch, Kept
from proxy.model.snapshot import SealingKey
from proxy.storage import keys, reading, totals
from proxy.storage.connection import ask, connect
from proxy.storage.pairs import PairStore
from proxy.storage.reading import PairArchive
from proxy.storage.sealing import Sealer
from tests.valkey import Valkey

STAGE = ("v1", 1, "canary")
KEY = "A" * 43 + "="


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[aredis.Redis]:
    client = connect(valkey.url, timeout=2.0)
    assert isinstance(client, aredis.Redis)
    yield client
    await client.aclose()


@pytest.fixture
def store(redis: aredis.Redis) -> PairStore:
    return PairStore(redis)


@pytest.fixture
def archive(redis: aredis.Redis) -> PairArchive:
    return PairArchive(redis)


def batch(seq: int, *verdicts: str) -> Batch:
    documents = [orjson.dumps({"seq": seq, "n": n, "verdict": word}) for n, word in enumerate(verdicts)]
    kept = tuple(Kept(word, document) for word, document in zip(verdicts, documents, strict=True))
    return Batch("refunds", "w1", seq, pairs=kept)


def waiting(seq: int, n: int = 0, until: float = 2e9) -> Kept:
    """A pair whose human has not decided yet."""
    document = {"seq": seq, "n": n, "verdict": "pending", "pending": {"until": "…"}, "legacy": {"decision": None}}
    return Kept("pending", orjson.dumps(document), refs=(f"r{seq}.{n}",), until=until)


async def close(redis: aredis.Redis, pair: str, verdict: str, decision: str = "approve") -> None:
    """What a late decision does, as far as a reader sees it."""
    entry = pair.partition(".")[2]
    state = {"verdict": verdict, "verdict_reason": "", "legacy_decision": decision, "differences": [], "revisions": [1]}
    await redis.set(keys.closed("refunds", entry), orjson.dumps(state))
    await redis.zrem(keys.pending("refunds"), entry)
    await redis.xadd(keys.verdict("refunds", verdict), {"of": entry})


async def stored(archive: PairArchive, **query: Any) -> list[tuple[int, int]]:
    """(seq, n) of all pairs, oldest first."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page, cursor = await archive.pairs("refunds", before=cursor, **query)
        found += page
        if cursor is None:
            return [(pair["seq"], pair["n"]) for pair in reversed(found)]


async def test_pages_are_newest_first_and_meet_without_gap(store: PairStore, archive: PairArchive) -> None:
    for seq in range(1, 5):
        await store.write([batch(seq, *["matched"] * 60)])
    page, cursor = await archive.pairs("refunds", limit=100)
    assert [(pair["seq"], pair["n"]) for pair in page[:2]] == [(4, 59), (4, 58)]
    assert len(page) == 100
    second, cursor = await archive.pairs("refunds", limit=100, before=cursor)
    third, end = await archive.pairs("refunds", limit=100, before=cursor)
    assert end is None
    ids = [pair["id"] for pair in page + second + third]
    assert len(set(ids)) == len(ids) == 240


async def test_a_full_last_page_has_no_cursor(store: PairStore, archive: PairArchive) -> None:
    await store.write([batch(1, *["matched"] * 10)])
    page, cursor = await archive.pairs("refunds", limit=10)
    assert len(page) == 10
    assert cursor is None


async def test_one_verdict_among_many_is_found_directly(
    store: PairStore, archive: PairArchive, redis: aredis.Redis
) -> None:
    for seq in range(1, 11):
        await store.write([batch(seq, *["matched"] * 99, "mismatched")])
    assert await stored(archive, verdict="mismatched", limit=4) == [(seq, 99) for seq in range(1, 11)]
    assert await calls(redis, "xrange") == 12  # the ten, and twice one that only shows that there is a next page
    assert await stored(archive, verdict="incomparable") == []


async def test_a_record_of_one_arm_has_no_verdict(store: PairStore, archive: PairArchive) -> None:
    await store.write([Batch("refunds", "w1", 1, pairs=(Kept(None, b'{"seq":1,"n":0}'),))])
    assert await stored(archive) == [(1, 0)]
    for verdict in ("matched", "mismatched", "incomparable"):
        assert await stored(archive, verdict=verdict) == []


async def test_an_index_may_know_pairs_that_are_gone(
    store: PairStore, archive: PairArchive, redis: aredis.Redis
) -> None:
    await store.write([batch(1, *["mismatched"] * 5), batch(2, *["mismatched"] * 5)])
    page, _ = await archive.pairs("refunds", verdict="mismatched")
    await redis.xtrim(keys.pairs("refunds"), maxlen=5, approximate=False)
    assert await stored(archive, verdict="mismatched") == [(2, n) for n in range(5)]
    assert await archive.pair(page[-1]["id"]) is None
    assert await archive.pair(page[0]["id"]) == page[0]


async def test_a_page_of_large_pairs_ends_early_with_a_cursor(
    store: PairStore, archive: PairArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE_BYTES", 60)
    await store.write([batch(1, *["matched"] * 5)])  # 35 bytes each
    page, cursor = await archive.pairs("refunds", limit=5)
    assert [pair["n"] for pair in page] == [4, 3]
    page, cursor = await archive.pairs("refunds", limit=5, before=cursor)
    assert [pair["n"] for pair in page] == [2, 1]


async def test_nothing_is_found_where_nothing_is(store: PairStore, archive: PairArchive) -> None:
    assert await archive.pairs("refunds") == ([], None)
    assert await archive.pairs("refunds", verdict="matched") == ([], None)
    for pair_id in ("refunds.1-1", "refunds.1", "1-1", "", "refunds.1-1.1-1", "re{f}unds.1-1", "refunds.x-y"):
        assert await archive.pair(pair_id) is None


async def test_a_cursor_or_verdict_that_is_none_is_refused(store: PairStore, archive: PairArchive) -> None:
    with pytest.raises(ValueError, match="'yesterday' is no cursor; take it from `next`"):
        await archive.pairs("refunds", before="yesterday")
    with pytest.raises(ValueError, match="'passed' is no verdict; it is one of matched, mismatched, incomparable"):
        await archive.pairs("refunds", verdict="passed")


@pytest.mark.parametrize("fields", [{"pair": b"{"}, {"pair": b"[1]"}, {"pair": b"\xff"}, {"other": b"{}"}])
async def test_a_garbage_entry_is_named(archive: PairArchive, redis: aredis.Redis, fields: dict[str, bytes]) -> None:
    (field, value), *_ = fields.items()
    entry = (await ask(redis, "XADD", keys.pairs("refunds"), "*", field, value)).decode()
    named = rf"crossfade:\{{refunds\}}:pairs: entry {entry} is no pair"
    with pytest.raises(StoreFormatError, match=named):
        await archive.pairs("refunds")
    with pytest.raises(StoreFormatError, match=named):
        await archive.pair(f"refunds.{entry}")


async def test_a_newer_layout_is_not_read(store: PairStore, archive: PairArchive, redis: aredis.Redis) -> None:
    await store.write([batch(1, "matched")])
    await redis.set(keys.layout("refunds"), "4")
    newer = r"format: is b'4', and this Crossfade knows 3; run a newer Crossfade or use another store"
    with pytest.raises(StoreFormatError, match=newer):
        await archive.pairs("refunds")
    with pytest.raises(StoreFormatError, match=newer):
        await totals.read(redis, "refunds", *STAGE)


# What comes late


async def test_open_pairs_are_found_and_leave_when_they_are_closed(
    store: PairStore, archive: PairArchive, redis: aredis.Redis
) -> None:
    for seq in range(1, 4):
        await store.write([Batch("refunds", "w1", seq, pairs=tuple(waiting(seq, n, 2e9 + seq) for n in range(40)))])
    assert sorted(await stored(archive, verdict="pending", limit=7)) == [(s, n) for s in range(1, 4) for n in range(40)]
    (newest, *_), _ = await archive.pairs("refunds", verdict="pending")
    assert newest["verdict"] == "pending"
    await close(redis, newest["id"], "matched")
    assert len(await stored(archive, verdict="pending")) == 119
    pair = await archive.pair(newest["id"])
    assert pair is not None
    assert (pair["verdict"], pair["legacy"]["decision"], pair["revisions"]) == ("matched", "approve", [1])
    assert (await archive.pairs("refunds", verdict="matched"))[0] == [pair]
    assert pair in (await archive.pairs("refunds", limit=200))[0]


async def test_open_pairs_that_expire_at_the_same_moment_are_gone_through_without_gap(
    store: PairStore, archive: PairArchive
) -> None:
    await store.write([Batch("refunds", "w1", 1, pairs=tuple(waiting(1, n) for n in range(130)))])
    assert sorted(await stored(archive, verdict="pending", limit=9)) == [(1, n) for n in range(130)]


async def test_a_revised_pair_is_found_by_what_it_is_now(
    store: PairStore, archive: PairArchive, redis: aredis.Redis
) -> None:
    await store.write([Batch("refunds", "w1", 1, pairs=(waiting(1),))])
    (pair,), _ = await archive.pairs("refunds")
    for verdict in ("matched", "mismatched"):
        await close(redis, pair["id"], verdict)
    assert await stored(archive, verdict="matched") == []
    assert await stored(archive, verdict="mismatched") == [(1, 0)]
    for verdict in ("matched", "mismatched"):
        await close(redis, pair["id"], verdict)
    assert await stored(archive, verdict="mismatched") == [(1, 0)]  # it is in that index twice


async def test_expired_pairs_are_found(store: PairStore, archive: PairArchive, redis: aredis.Redis) -> None:
    await store.write([Batch("refunds", "w1", 1, pairs=(waiting(1), waiting(1, 1)))])
    (pair, _), _ = await archive.pairs("refunds")
    await close(redis, pair["id"], "expired", "")
    assert await stored(archive, verdict="expired") == [(1, 1)]


async def test_where_little_is_left_of_an_index_a_page_ends_early_and_the_next_goes_on(
    store: PairStore, archive: PairArchive, redis: aredis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_LOOKED", 100)
    await store.write([batch(1, "matched", *["mismatched"] * 200)])
    newest, cursor = await archive.pairs("refunds", verdict="mismatched", limit=200)
    for pair in newest:
        await redis.xdel(keys.pairs("refunds"), pair["id"].partition(".")[2])
    page, after = await archive.pairs("refunds", verdict="mismatched")
    assert page == []
    assert after == cursor
    assert len(await stored(archive, verdict="mismatched")) == 200 - len(newest)


# In the order in which they were kept


async def export(archive: PairArchive, **query: Any) -> list[tuple[int, int]]:
    ends = await archive.span("refunds", 0)
    if ends is None:
        return []
    found: list[tuple[int, int]] = []
    cursor: str | None = "0-0"
    while cursor is not None:
        some, cursor = await archive.following("refunds", after=cursor, until=ends[1], **query)
        found += [(pair["seq"], pair["n"]) for pair in some]
    return found


async def test_all_are_gone_through_oldest_first(store: PairStore, archive: PairArchive, redis: aredis.Redis) -> None:
    assert await export(archive) == []
    await store.write([batch(1, *["matched"] * 60), batch(2, "mismatched"), batch(3, *["matched"] * 60)])
    expected = [(1, n) for n in range(60)] + [(2, 0)] + [(3, n) for n in range(60)]
    assert await export(archive) == expected
    assert await export(archive, verdict="mismatched") == [(2, 0)]
    await store.write([Batch("refunds", "w1", 4, pairs=(waiting(4),))])
    assert await export(archive, verdict="pending") == [(4, 0)]
    (pair, *_), _ = await archive.pairs("refunds")
    await close(redis, pair["id"], "mismatched")
    assert await export(archive, verdict="mismatched") == [(2, 0), (4, 0)]


async def test_what_is_kept_meanwhile_is_beyond_the_end(store: PairStore, archive: PairArchive) -> None:
    await store.write([batch(1, *["matched"] * 70)])
    ends = await archive.span("refunds", 0)
    assert ends is not None
    first, cursor = await archive.following("refunds", after="0-0", until=ends[1])
    await store.write([batch(2, *["matched"] * 70)])
    assert cursor is not None
    rest, end = await archive.following("refunds", after=cursor, until=ends[1])
    assert (len(first) + len(rest), end) == (70, None)
    (newest, *_), _ = await archive.pairs("refunds")
    assert await archive.span("refunds", int(newest["id"].split(".")[1].split("-")[0]) / 1000 + 1) is None


# Sealed


async def test_what_does_not_open_costs_itself_alone(store: PairStore, redis: aredis.Redis) -> None:
    old, new = SealingKey("old", KEY), SealingKey("new", KEY)
    sealed = Sealer([old]).seal(b'{"n":1}', "refunds")
    await store.write([Batch("refunds", "w1", 1, pairs=(Kept("matched", sealed),)), batch(2, "matched")])
    archive = PairArchive(redis, Sealer([new]))
    (second, first), _ = await archive.pairs("refunds")
    assert second["seq"] == 2
    assert first == {"id": first["id"], "unreadable": first["unreadable"]}
    assert "'old'" in first["unreadable"]
    assert (await archive.pairs("refunds", verdict="matched"))[0] == [second, first]
    ((found, _), _) = await PairArchive(redis, Sealer([new, old])).pairs("refunds", limit=2)
    assert found == second
    opened = await PairArchive(redis, Sealer([new, old])).pair(first["id"])
    assert opened == {"id": first["id"], "n": 1}


async def calls(redis: aredis.Redis, command: str) -> int:
    stats = await redis.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))
