"""The look over the store at the start: is it what its URL says, new enough, and does it let our scripts work?"""

import re
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import structlog
from redis import asyncio as aredis
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import ResponseError

from proxy.model.errors import StoreError, StoreUnavailableError
from proxy.storage.connection import Client, translated

_log = structlog.get_logger()

OLDEST: Final = (6, 2)
"""The first version that knows exclusive ranges of streams."""

_PROBE: Final = """
redis.call('XADD', KEYS[1], '*', 'a', '')
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', redis.call('XLEN', KEYS[1]))
redis.call('HINCRBY', KEYS[2], 'a', 1)
redis.call('HMGET', KEYS[2], 'a')
redis.call('EXPIRE', KEYS[2], 60)
redis.call('SET', KEYS[3], redis.call('TYPE', KEYS[1]).ok, 'EX', 60)
redis.call('GET', KEYS[3])
redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
redis.call('ZADD', KEYS[4], redis.call('TIME')[1], 'a')
redis.call('ZREMRANGEBYRANK', KEYS[4], redis.call('ZCARD', KEYS[4]), redis.call('ZCOUNT', KEYS[4], '-inf', '+inf'))
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', 0)
redis.call('ZREM', KEYS[4], 'b')
redis.call('BITFIELD', KEYS[5], 'SET', 'u1', 0, 1)
redis.call('PEXPIRE', KEYS[5], 60000)
return redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
"""
"""Does once all that our scripts do: one that is stopped half way, by a rule of the server's, is not undone."""


@dataclass(frozen=True, slots=True)
class Server:
    """What answered at the other end; of a Cluster, its oldest master. `evicts` is the eviction policy where that may
    drop our keys, else empty."""

    name: str
    version: tuple[int, ...]
    evicts: str


async def check(redis: Client) -> Server:
    """Look the server over, or every master of a Cluster.

    Raises StoreUnavailableError where none answers, StoreError where it is not what the URL says, too old, or does not
    let our scripts read and write (a replica, an access list, no memory left). A policy that may evict our keys is
    logged as a warning.
    """
    server = min([await _check_one(redis, node) for node in await _masters(redis)], key=lambda found: found.version)
    if server.evicts:
        _log.warning(
            "store_may_evict", maxmemory_policy=server.evicts, hint="set maxmemory-policy noeviction, or pairs vanish"
        )
    return server


async def _masters(redis: Client) -> list[ClusterNode | None]:
    """None stands for the one server."""
    if isinstance(redis, aredis.Redis):
        return [None]
    try:
        with translated():
            await redis.initialize()
    except StoreUnavailableError as error:
        if "Cluster mode is not enabled" in str(error):
            raise StoreError(
                "the store is no Cluster, or lets us ask nothing of it; write redis://host:port/db for a single server"
            ) from error
        raise
    return list(redis.get_primaries())


async def _check_one(redis: Client, master: ClusterNode | None) -> Server:
    info: dict[str, Any] = await _ask(redis, master, "INFO", "server")
    _refuse_mode(str(info.get("redis_mode", info.get("server_mode", ""))), of_cluster=master is not None)
    server = _server(info, await _policy(redis, master))
    if server.version < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise StoreError(f"the store is {server.name} {info.get('redis_version')}; Crossfade needs {wanted} or newer")
    names = [f"crossfade:{{{_tag(redis, master)}}}:{number}" for number in range(5)]
    try:
        await _ask(redis, master, "EVAL", _PROBE, len(names), *names)
    except StoreUnavailableError as error:
        if isinstance(error.__cause__, ResponseError):
            raise StoreError(f"{error}; Crossfade needs a store that runs its scripts and lets them write") from error
        raise
    return server


async def _ask(redis: Client, master: ClusterNode | None, *words: str | int) -> Any:
    with translated():
        if master is None:
            return await redis.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py has no types here
        assert not isinstance(redis, aredis.Redis)
        return await redis.execute_command(*words, target_nodes=master)


def _refuse_mode(mode: str, *, of_cluster: bool) -> None:
    if mode == "cluster" and not of_cluster:
        raise StoreError("the store is a node of a Cluster; write redis+cluster://host:port,host:port")
    if mode == "sentinel":
        raise StoreError("the store is a Sentinel; write redis+sentinel://host:port,host:port/service")


def _tag(redis: Client, master: ClusterNode | None) -> str:
    """A hash tag whose keys live on this master."""
    if isinstance(redis, aredis.Redis) or master is None:
        return "probe"
    return next(tag for tag in map("probe{}".format, count()) if redis.get_node_from_key(f"{{{tag}}}") == master)


async def _policy(redis: Client, master: ClusterNode | None) -> str:
    """The eviction policy if it may drop our keys. Managed servers often forbid CONFIG; then it is not known."""
    try:
        found: dict[str, str] = await _ask(redis, master, "CONFIG GET", "maxmemory*")
    except StoreUnavailableError:
        return ""
    policy = found.get("maxmemory-policy", "")
    return "" if policy == "noeviction" or found.get("maxmemory") == "0" else policy


def _server(info: dict[str, Any], evicts: str) -> Server:
    # Valkey gives its own version apart and in redis_version the last Redis that it is compatible with.
    version = tuple(int(part) for part in re.findall(r"\d+", str(info.get("redis_version", "0")))[:3])
    return Server(str(info.get("server_name", "redis")), version, evicts)
