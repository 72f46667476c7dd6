"""What the store is asked once, at the start, and what is said where it will not do."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis import asyncio as aredis
from structlog.testing import capture_logs

from proxy.model.errors import StoreError
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


# Of several servers


async def found(url: str) -> str:
    """What is said of it."""
    client = connect(url, timeout=1.0)
    try:
        return (await check(client)).name
    except StoreError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        await client.aclose()


async def test_what_sentinels_watch_is_looked_over_or_told_apart(tmp_path: Path) -> None:
    with Sentinel(tmp_path / "sentinel") as servers:
        servers.start()
        data, hosts = servers.data[0], ",".join(f"127.0.0.1:{each.port}" for each in servers.sentinels)
        assert await found(servers.url) == "valkey"
        assert await found(f"redis+sentinel://{hosts}/nobody") == (
            "StoreUnavailableError: the store does not answer: the Sentinels know no service 'nobody'"
        )
        assert (await found(f"redis+sentinel://127.0.0.1:{data.port}/x")).startswith(
            f"StoreUnavailableError: the store does not answer: 127.0.0.1:{data.port} is no Sentinel"
        )
        assert await found(f"redis://{hosts.split(',')[0]}") == (
            "StoreError: the store is a Sentinel; write redis+sentinel://host:port,host:port/service"
        )
        assert "is no Cluster" in await found(f"redis+cluster://127.0.0.1:{data.port}")
        data.say("ACL", "SETUSER", "default", "resetpass", ">hunter2")
        for each in servers.sentinels:
            each.say("SENTINEL", "SET", servers.url.rpartition("/")[2], "auth-pass", "hunter2")
        assert "Authentication required" in await found(servers.url)
        assert await found(servers.url.replace("://", "://:hunter2@")) == "valkey"
        for each in servers.sentinels:
            each.say("ACL", "SETUSER", "default", "resetpass", ">sesame")
        assert "no Sentinel answers" in await found(servers.url.replace("://", "://:hunter2@"))
        assert await found(servers.url.replace("://", "://:hunter2@") + "?sentinel_password=sesame") == "valkey"


async def test_where_no_sentinel_answers_that_is_said() -> None:
    assert (await found("redis+sentinel://:hunter2@127.0.0.1:1,127.0.0.1:2/x")).startswith(
        "StoreUnavailableError: the store does not answer: no Sentinel answers: 127.0.0.1:"
    )


async def test_a_cluster_is_looked_over_or_told_apart(tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster") as servers:
        servers.start()
        last = servers.masters[-1]
        assert await found(servers.url) == "valkey"
        assert await found(f"redis+cluster://127.0.0.1:{last.port}") == "valkey"
        assert await found(last.url) == (
            "StoreError: the store is a node of a Cluster; write redis+cluster://host:port,host:port"
        )
        last.say("ACL", "SETUSER", "default", "-eval")
        assert "needs a store that runs its scripts" in await found(servers.url)
        last.kill()
        assert (await found(f"redis+cluster://127.0.0.1:{last.port}")).startswith("StoreUnavailableError")
