"""A Cluster of three masters: keys anywhere, nodes lost and followed, and an end of every wait."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.model.errors import StoreUnavailableError
from proxy.storage.connection import Client, ask, connect
from tests.valkey import SHARE, Cluster, Node

PATIENCE = 20.0
NAMES = [f"{{{number}}}" for number in range(30)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster", replica=True) as servers:
        servers.start()
        yield servers


@pytest.fixture
async def redis(cluster: Cluster) -> AsyncIterator[Client]:
    client = connect(cluster.url, connect_timeout=0.5, timeout=0.5)
    yield client
    await client.aclose()


async def count_up(redis: Client) -> list[Any]:
    """Every key one more, in one pipeline; errors among the replies."""
    pipeline = redis.pipeline(transaction=False)
    for name in NAMES:
        pipeline.execute_command("EVAL", "return redis.call('INCR', KEYS[1])", 1, name)
    return list(await pipeline.execute(raise_on_error=False))


def lost(replies: list[Any]) -> set[str]:
    return {name for name, reply in zip(NAMES, replies, strict=True) if isinstance(reply, Exception)}


def owned(cluster: Cluster, node: Node) -> set[str]:
    return {name for name in NAMES if cluster.owner(name) is node}


async def test_keys_are_where_they_belong(redis: Client, cluster: Cluster) -> None:
    assert await count_up(redis) == [1] * len(NAMES)
    for name in NAMES:
        assert await ask(redis, "GET", name) == b"1"
        assert cluster.owner(name).say("GET", name) == "1"


async def test_many_at_once_wait_for_their_turn(cluster: Cluster) -> None:
    client = connect(cluster.url, max_connections=4)
    await asyncio.gather(*(ask(client, "GET", name) for name in NAMES * 10), *(count_up(client) for _ in range(20)))
    for each in cluster.masters:
        ours = [line for line in each.say("CLIENT LIST") if line["name"] == "crossfade"]
        assert 0 < len(ours) <= 4
    await client.aclose()


async def test_a_master_that_is_lost_costs_its_own_keys_alone(redis: Client, cluster: Cluster) -> None:
    await count_up(redis)
    gone = cluster.masters[1]
    gone.kill()
    assert lost(await count_up(redis)) == owned(cluster, gone)
    with pytest.raises(StoreUnavailableError):
        await ask(redis, "GET", min(owned(cluster, gone)))


async def test_every_wait_ends(redis: Client, cluster: Cluster) -> None:
    await count_up(redis)
    cluster.masters[1].freeze()
    async with asyncio.timeout(2 * (0.5 + 0.5)):
        assert lost(await count_up(redis)) == owned(cluster, cluster.masters[1])
    for each in (cluster.masters[0], cluster.masters[2]):
        each.freeze()
    async with asyncio.timeout(2 * (0.5 + 0.5)):
        with pytest.raises(StoreUnavailableError):
            await ask(redis, "GET", NAMES[0])


async def test_a_replica_that_takes_over_is_found(redis: Client, cluster: Cluster) -> None:
    await count_up(redis)
    names = owned(cluster, cluster.masters[0])
    cluster.masters[0].kill()
    async with asyncio.timeout(PATIENCE):
        while lost(await count_up(redis)):
            await asyncio.sleep(0.05)
    assert cluster.replica is not None
    assert cluster.replica.role == "master"
    for name in names:
        assert int(await ask(redis, "GET", name)) >= 1  # its last writes may not have got there


async def test_slots_that_moved_are_followed_also_within_a_pipeline(redis: Client, cluster: Cluster) -> None:
    await count_up(redis)
    first, second, third = cluster.masters
    owner = second.say("CLUSTER", "MYID")
    for name in owned(cluster, first):
        slot = int(first.say("CLUSTER", "KEYSLOT", name))
        assert slot < SHARE
        first.say("DEL", name)
        for each in (second, first, third):
            each.say("CLUSTER", "SETSLOT", slot, "NODE", owner)
    replies = await count_up(redis)
    assert not lost(replies)
    assert {name for name, reply in zip(NAMES, replies, strict=True) if reply == 1} == owned(cluster, first)
