"""The way to the store: bounded pools, and one place where redis-py's errors become ours.

Any Redis-protocol server from version 6.2 on will do, alone, watched by Sentinels (`sentinel`), or a Cluster
(`cluster`); `probe` looks it over at the start. RESP2 is spoken, since everything understands it. All that Crossfade
sends may be sent twice (see `pairs` and `rollouts`), so a retry on a connection that went stale is safe.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis import asyncio as aredis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import MovedError, ReadOnlyError, RedisClusterException, RedisError, ResponseError

from proxy.config.store_url import Hosts, mask_store, parse_hosts
from proxy.config.units import UnfitError
from proxy.model.errors import StoreError, StoreFormatError, StoreUnavailableError
from proxy.storage.cluster import Cluster
from proxy.storage.sentinel import MasterPool, Sentinels

FOREIGN: Final = "CROSSFADEFORMAT"
"""With this word a script of ours refuses a key: `CROSSFADEFORMAT <key> <problem>`."""

_SENTINEL_TIMEOUT: Final = 1.0
"""Seconds for a Sentinel to be reached, and to answer: it does nothing else, and there are others."""

Client = aredis.Redis | Cluster


def connect(url: str, *, connect_timeout: float = 2.0, timeout: float = 3.0, max_connections: int = 16) -> Client:
    """A client for one of the URLs of `proxy.config.store_url`; nothing is sent yet. Times are seconds.

    When all `max_connections` (of a Cluster: of each node) are busy a caller waits for one up to `timeout`. Raises
    StoreError on a URL that it does not understand.
    """
    options: dict[str, Any] = {
        "decode_responses": False,
        "protocol": 2,
        "socket_connect_timeout": connect_timeout,
        "socket_timeout": timeout,
        "client_name": "crossfade",
    }
    try:
        hosts = None if url.startswith("unix:") else parse_hosts(url)
        if hosts is None:
            pool = {**options, "timeout": timeout, "max_connections": max_connections, "retry": _retry()}
            return aredis.Redis.from_pool(aredis.BlockingConnectionPool.from_url(url, **pool))
        # What stands in a URL goes before what we say; parse_url is redis-py's, for one host.
        options.update(parse_url(hosts.plain))
    except (UnfitError, ValueError) as error:
        reason = f"{error}" if isinstance(error, UnfitError) else "is no address; write redis://host:port/db"
        raise StoreError(f"store {mask_store(url)!r} {reason}") from None
    tls = options.pop("connection_class", None) is SSLConnection
    for own in ("host", "port"):
        options.pop(own, None)
    if hosts.kind == "cluster":
        nodes = [ClusterNode(*address) for address in hosts.addresses]
        patience = connect_timeout + timeout
        return Cluster(startup_nodes=nodes, patience=patience, max_connections=max_connections, ssl=tls, **options)
    return _of_sentinels(hosts, options, tls=tls, timeout=timeout, max_connections=max_connections)


def _of_sentinels(
    hosts: Hosts, options: dict[str, Any], *, tls: bool, timeout: float, max_connections: int
) -> aredis.Redis:
    own = {name: value for name, value in options.items() if name not in ("username", "password", "db", "client_name")}
    own |= {"socket_connect_timeout": _SENTINEL_TIMEOUT, "socket_timeout": _SENTINEL_TIMEOUT, "ssl": tls}
    own |= {"username": hosts.sentinel_username or None, "password": hosts.sentinel_password or None}
    own |= {"max_connections": max_connections, "retry": Retry(NoBackoff(), 1, supported_errors=(ConnectionLostError,))}
    pool = MasterPool(
        hosts.service,
        Sentinels(hosts.addresses, own),
        tls=tls,
        timeout=timeout,
        max_connections=max_connections,
        retry=_retry(),
        **options,
    )
    return aredis.Redis.from_pool(pool)


def _retry() -> Retry:
    """Once more, on a new connection, where one went stale or leads to what is a master no longer.

    Instead of redis-py's health checks: at a server that asks for a password which we do not have, their PING connects
    again to ask again, without end. Not for a server that is silent: it would only be waited for once more.
    """
    return Retry(NoBackoff(), 1, supported_errors=(ConnectionLostError, ReadOnlyError))


@contextmanager
def translated(key: str = "") -> Iterator[None]:
    """Turn what redis-py raises into StoreUnavailableError, or StoreFormatError for a key that holds what is not ours.

    `key` is named where the server says only that some key has the wrong type.
    """
    try:
        yield
    except (RedisError, RedisClusterException, OSError) as error:
        raise translate(error, key) from error


async def ask(redis: Client, *words: str | bytes | int, key: str = "") -> Any:
    """One command and its reply, errors translated. (redis-py's own methods say they may answer text and None too.)"""
    with translated(key):
        return await redis.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py has no types here


async def execute(pipeline: Any, names: list[str]) -> list[Any]:
    """The replies to a pipeline's commands, or the first error. `names` are their keys, one each."""
    with translated():
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
    for key, reply in zip(names, replies, strict=True):
        if isinstance(reply, Exception):
            raise translate(reply, key) from reply
    return replies


def translate(error: Exception, key: str = "") -> StoreError:
    """The error of ours for one of redis-py's; `translated` and pipelines, which return errors, share it."""
    text = str(error).partition(", with args")[0].strip() or type(error).__name__
    if isinstance(error, MovedError):
        return StoreUnavailableError("the store is a node of a Cluster; write redis+cluster://host:port,host:port")
    if isinstance(error, ResponseError):
        if text.startswith(FOREIGN):
            _, found, problem = text.split(" ", 2)
            return StoreFormatError(found, problem)
        if text.startswith("WRONGTYPE"):
            return StoreFormatError(key, "holds another type of value; it is not Crossfade's. Move it out of the way")
        return StoreUnavailableError(f"the store refused a command: {text[:200]}")
    return StoreUnavailableError(f"the store does not answer: {text[:200]}")


async def wait_ready(url: str, timeout: float) -> None:  # noqa: ASYNC109  # the caller thinks in seconds, as everywhere here
    """Return when the server answers PING (a loading one does not). StoreUnavailableError after `timeout` seconds."""
    redis = connect(url, connect_timeout=1.0, timeout=1.0, max_connections=1)
    deadline = asyncio.get_running_loop().time() + timeout
    try:
        while True:
            try:
                await ask(redis, "PING")
            except StoreUnavailableError as error:
                if asyncio.get_running_loop().time() >= deadline:
                    raise StoreUnavailableError(
                        f"no answer from {mask_store(url)} within {timeout:g} s: {error}"
                    ) from error
                await asyncio.sleep(0.02)
            else:
                return
    finally:
        await redis.aclose()
