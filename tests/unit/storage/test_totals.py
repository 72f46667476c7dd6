"""Evidence as the store keeps it: what is written is what is read, and what is not ours is not."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.model.errors import StoreFormatError
from proxy.model.rollouts import Batch, Evidence
from proxy.storage import keys, totals
from proxy.storage.connection import Client, ask, connect
from proxy.storage.pairs import PairStore
from proxy.storage.tally import add
from tests.unit.storage.evidence import EVIDENCE
from tests.valkey import Valkey

STAGE = ("v1", 1, "canary")


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Client]:
    client = connect(valkey.url)
    yield client
    await client.aclose()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(EVIDENCE, min_size=1, max_size=4))
def test_what_is_written_is_what_is_read(valkey: Valkey, parts: list[Evidence]) -> None:
    async def written_and_read() -> Evidence:
        redis = connect(valkey.url)
        try:
            await ask(redis, "FLUSHALL")
            store = PairStore(redis)
            await store.write([Batch("refunds", "w1", seq, {STAGE: part}) for seq, part in enumerate(parts, 1)])
            return await totals.read(redis, "refunds", *STAGE)
        finally:
            await redis.aclose()

    expected = Evidence()
    for part in parts:
        expected = add(expected, part)
    assert asyncio.run(written_and_read()) == expected


async def test_nothing_was_seen_where_nothing_is_stored(redis: Client) -> None:
    assert await totals.read(redis, "refunds", *STAGE) == Evidence()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("matched", "-1"),
        ("matched", "x"),
        ("happy", "1"),
        ("segment:a", "1"),
        ("segment:a:matched", "x"),
        ("segments", "few"),
        ("decision:x", "1"),
        ('decision:["x"]', "1"),
        ('decision:["x",1]', "1"),
        ('decision:{"x":1}', "1"),
        ('decision:["x","y"]', "-1"),
        (b"decision:\xff", "1"),
    ],
)
async def test_what_is_no_count_of_ours_is_not_read(redis: Client, field: str | bytes, value: str) -> None:
    key = keys.totals("refunds", *STAGE)
    await ask(redis, "HSET", key, field, value)
    with pytest.raises(StoreFormatError, match="that is no count of Crossfade's") as caught:
        await totals.read(redis, "refunds", *STAGE)
    assert caught.value.key == key


async def test_another_type_is_not_read(redis: Client) -> None:
    await ask(redis, "SET", keys.totals("refunds", *STAGE), "banana")
    with pytest.raises(StoreFormatError, match="holds another type of value"):
        await totals.read(redis, "refunds", *STAGE)
