"""The master is asked of the Sentinels: found, and found again when it is another one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy.model.errors import StoreUnavailableError
from proxy.storage import sentinel as storage
from proxy.storage.connection import Client, ask, connect
from tests.valkey import SERVICE, Node, Sentinel

PATIENCE = 20.0


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Sentinel]:
    with Sentinel(tmp_path / "sentinel") as servers:
        servers.start()
        yield servers


@pytest.fixture
async def redis(sentinel: Sentinel) -> AsyncIterator[Client]:
    client = connect(sentinel.url, timeout=1.0)
    yield client
    await client.aclose()


async def where(redis: Client) -> int:
    """The port of the server that answers. Raises StoreUnavailableError."""
    return int((await ask(redis, "CONFIG GET", "port"))["port"])


async def is_written(redis: Client, other_than: Node) -> int:
    """The port of the server that takes writes, once it is another one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await ask(redis, "EVAL", "return redis.call('SET', KEYS[1], 1)", 1, "a")
                if (port := await where(redis)) != other_than.port:
                    return port
            except StoreUnavailableError:
                pass
            await asyncio.sleep(0.05)


async def test_the_master_answers_and_connections_are_bounded(sentinel: Sentinel) -> None:
    client = connect(f"{sentinel.url}/2", max_connections=2)
    assert await asyncio.gather(*(where(client) for _ in range(20))) == [sentinel.master.port] * 20
    ours = [each for each in sentinel.master.say("CLIENT LIST") if each["name"] == "crossfade"]
    assert [each["db"] for each in ours] == ["2", "2"]
    await client.aclose()


async def test_a_sentinel_that_does_not_answer_holds_nobody_up(sentinel: Sentinel) -> None:
    sentinel.sentinels[0].kill()
    sentinel.sentinels[1].freeze()
    client = connect(sentinel.url)
    async with asyncio.timeout(0.9):  # less than it would be given
        assert await where(client) == sentinel.data[0].port
    await client.aclose()


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_a_master_that_is_gone_is_followed_by_the_new_one(redis: Client, sentinel: Sentinel, how: str) -> None:
    old, new = sentinel.data
    assert await where(redis) == old.port
    getattr(old, how)()
    assert await is_written(redis, old) == new.port


async def test_a_master_that_was_demoted_is_left_at_its_first_refusal(redis: Client, sentinel: Sentinel) -> None:
    old, new = sentinel.data
    assert await where(redis) == old.port
    sentinel.sentinels[0].say("SENTINEL", "FAILOVER", SERVICE)
    assert await is_written(redis, old) == new.port


async def test_a_master_that_only_the_sentinels_gave_up_is_left_soon(
    redis: Client, sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still answers us, and takes writes that will be lost."""
    old, new = sentinel.data
    assert await where(redis) == old.port
    new.say("REPLICAOF", "NO", "ONE")
    for each in sentinel.sentinels:
        each.say("SENTINEL", "REMOVE", SERVICE)
        each.say("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", new.port, 2)
    assert await where(redis) == old.port
    monkeypatch.setattr(storage, "REASK", 0.0)
    assert await where(redis) == new.port


async def test_what_the_sentinels_name_must_call_itself_a_master(sentinel: Sentinel) -> None:
    sentinel.data[0].say("REPLICAOF", "127.0.0.1", 1)
    client = connect(sentinel.url)
    with pytest.raises(StoreUnavailableError, match=r"which is no master|is down"):
        await where(client)
    await client.aclose()
