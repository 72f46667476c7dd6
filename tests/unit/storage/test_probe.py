"""What the store is asked once, at the start, and what is said where it will not do."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis import asyncio as aredis
from structlog.testing import capture_logs

from proxy.model.errors import StoreError, StoreUnavailableError
from proxy.storage.connection import ask, connect
from proxy.storage.probe import check
from tests.valkey import Cluster, Sentinel, Valkey


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[aredis.Redis]:
    client = connect(valkey.url, timeout=1.0)
    assert isinstance(client, aredis.Redis)
    yield client
    await client.aclose()


async def test_a_healthy_store_passes_the_check_and_warns_of_nothing(redis: aredis.Redis) -> None:
    with capture_logs() as logs:
        server = await check(redis)
    assert server.name == "valkey"
    assert server.version >= (7, 2)
    assert server.evicts == ""
    assert logs == []
    assert await redis.keys("*") == []


async def test_a_store_that_may_evict_is_warned_of(redis: aredis.Redis) -> None:
    await redis.config_set("maxmemory", 100_000_000)
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    with capture_logs() as logs:
        server = await check(redis)
    assert server.evicts == "allkeys-lru"
    assert [(entry["event"], entry["maxmemory_policy"]) for entry in logs] == [("store_may_evict", "allkeys-lru")]


@pytest.mark.parametrize(
    "command",
    ["eval", "xadd", "xtrim", "hincrby", "expire", "zadd", "bitfield", "zremrangebyrank", "zremrangebyscore", "time"],
)
async def test_a_store_that_forbids_a_command_fails_the_check(redis: aredis.Redis, command: str) -> None:
    await ask(redis, "ACL SETUSER", "default", f"-{command}")
    with pytest.raises(StoreError, match=r"refused a command: .*; Crossfade needs a store that runs its scripts"):
        await check(redis)


async def test_a_replica_fails_the_check(redis: aredis.Redis) -> None:
    await ask(redis, "REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(StoreError, match=r"READONLY|replica"):
        await check(redis)


async def test_a_store_that_forbids_config_passes_the_check(redis: aredis.Redis) -> None:
    await ask(redis, "ACL SETUSER", "default", "-config")
    assert (await check(redis)).evicts == ""
