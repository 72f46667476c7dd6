"""The way to the store: one bounded pool, one place where redis-py's errors become ours, one check at the start.

Any Redis-protocol server from version 6.2 on will do. RESP2 is spoken, since everything understands it. All that
Crossfade sends may be sent twice (see `pairs` and `rollouts`), so one retry on a connection that went stale is safe.
"""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import structlog
from redis import asyncio as aredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import RedisError, ResponseError

from proxy.model.errors import StoreError, StoreFormatError, StoreUnavailableError

_log = structlog.get_logger()

OLDEST: Final = (6, 2)
"""The first version that knows exclusive ranges of streams."""

FOREIGN: Final = "CROSSFADEFORMAT"
"""With this word a script of ours refuses a key: `CROSSFADEFORMAT <key> <problem>`."""

_PROBE: Final = """
redis.call('XADD', KEYS[1], '*', 'a', '')
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', redis.call('XLEN', KEYS[1]))
redis.call('HINCRBY', KEYS[2], 'a', 1)
redis.call('HMGET', KEYS[2], 'a')
redis.call('EXPIRE', KEYS[2], 60)
redis.call('SET', KEYS[3], redis.call('TYPE', KEYS[1]).ok, 'EX', 60)
redis.call('GET', KEYS[3])
return redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
"""
"""Does once all that our scripts do: one that is stopped half way, by a rule of the server's, is not undone."""


@dataclass(frozen=True, slots=True)
class Server:
    """What answered at the other end. `evicts` is its eviction policy where that may drop our keys, else empty."""

    name: str
    version: tuple[int, ...]
    evicts: str


def connect(url: str, *, connect_timeout: float = 2.0, timeout: float = 3.0, max_connections: int = 16) -> aredis.Redis:
    """A client for `redis://`, `rediss://` or `unix://`; nothing is sent yet. Times are seconds.

    When all `max_connections` are busy a caller waits for one up to `timeout`. Raises StoreError on a URL that redis-py
    does not understand.
    """
    options: dict[str, Any] = {"socket_keepalive": True} if not url.startswith("unix:") else {}
    try:
        pool = aredis.BlockingConnectionPool.from_url(
            url,
            decode_responses=False,
            protocol=2,
            socket_connect_timeout=connect_timeout,
            socket_timeout=timeout,
            timeout=timeout,
            max_connections=max_connections,
            # For a connection that went stale. Instead of redis-py's health checks: at a server that asks for a
            # password which we do not have, their PING connects again to ask again, without end. Not for a server
            # that is silent: it would only be waited for once more.
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionLostError,)),
            client_name="crossfade",
            **options,
        )
    except ValueError:
        raise StoreError(f"store {safe_url(url)!r} is no address; write redis://host:port/db or unix:///path") from None
    return aredis.Redis.from_pool(pool)


def safe_url(url: str) -> str:
    """`url` with its password masked: the only form of it that may be logged or shown."""
    try:
        parts = urlsplit(url)
        secret = parts.password is not None
    except ValueError:
        return "***"
    netloc = parts.netloc
    if secret:
        netloc = f"{parts.username or ''}:***@{netloc.rpartition('@')[2]}"
    query = [(name, "***" if "password" in name else value) for name, value in parse_qsl(parts.query)]
    return f"{parts.scheme}://{netloc}{parts.path}{'?' if query else ''}{urlencode(query, safe='*/')}"


@contextmanager
def translated(key: str = "") -> Iterator[None]:
    """Turn what redis-py raises into StoreUnavailableError, or StoreFormatError for a key that holds what is not ours.

    `key` is named where the server says only that some key has the wrong type.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        raise translate(error, key) from error


async def ask(redis: aredis.Redis, *words: str | bytes | int, key: str = "") -> Any:
    """One command and its reply, errors translated. (redis-py's own methods say they may answer text and None too.)"""
    with translated(key):
        return await redis.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py has no types here


def translate(error: Exception, key: str = "") -> StoreError:
    """The error of ours for one of redis-py's; `translated` and pipelines, which return errors, share it."""
    text = str(error).partition(", with args")[0].strip() or type(error).__name__
    if isinstance(error, ResponseError):
        if text.startswith(FOREIGN):
            _, found, problem = text.split(" ", 2)
            return StoreFormatError(found, problem)
        if text.startswith("WRONGTYPE"):
            return StoreFormatError(key, "holds another type of value; it is not Crossfade's. Move it out of the way")
        return StoreUnavailableError(f"the store refused a command: {text[:200]}")
    return StoreUnavailableError(f"the store does not answer: {text[:200]}")


async def check(redis: aredis.Redis) -> Server:
    """Look the server over once, at the start.

    Raises StoreUnavailableError where none answers, StoreError where it is too old, or does not let our scripts read
    and write (a replica, an access list, no memory left). A policy that may evict our keys is logged as a warning.
    """
    await ask(redis, "PING")
    info = await ask(redis, "INFO", "server")
    server = _server(info, await _policy(redis))
    if server.version < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise StoreError(f"the store is {server.name} {info.get('redis_version')}; Crossfade needs {wanted} or newer")
    try:
        await ask(redis, "EVAL", _PROBE, 3, *(f"crossfade:{{probe}}:{number}" for number in range(3)))
    except StoreUnavailableError as error:
        if isinstance(error.__cause__, ResponseError):
            raise StoreError(f"{error}; Crossfade needs a store that runs its scripts and lets them write") from error
        raise
    if server.evicts:
        _log.warning(
            "store_may_evict", maxmemory_policy=server.evicts, hint="set maxmemory-policy noeviction, or pairs vanish"
        )
    return server


async def wait_ready(url: str, timeout: float) -> None:  # noqa: ASYNC109  # the caller thinks in seconds, as everywhere here
    """Return when the server answers PING (a loading one does not). StoreUnavailableError after `timeout` seconds."""
    redis = connect(url, connect_timeout=1.0, timeout=1.0, max_connections=1)
    deadline = asyncio.get_running_loop().time() + timeout
    try:
        while True:
            try:
                with translated():
                    await redis.ping()
            except StoreUnavailableError as error:
                if asyncio.get_running_loop().time() >= deadline:
                    raise StoreUnavailableError(
                        f"no answer from {safe_url(url)} within {timeout:g} s: {error}"
                    ) from error
                await asyncio.sleep(0.02)
            else:
                return
    finally:
        await redis.aclose()


async def _policy(redis: aredis.Redis) -> str:
    """The eviction policy if it may drop our keys. Managed servers often forbid CONFIG; then it is not known."""
    try:
        found: dict[str, str] = await ask(redis, "CONFIG GET", "maxmemory*")
    except StoreUnavailableError:
        return ""
    policy = found.get("maxmemory-policy", "")
    return "" if policy == "noeviction" or found.get("maxmemory") == "0" else policy


def _server(info: dict[str, Any], evicts: str) -> Server:
    # Valkey gives its own version apart and in redis_version the last Redis that it is compatible with.
    version = tuple(int(part) for part in re.findall(r"\d+", str(info.get("redis_version", "0")))[:3])
    return Server(str(info.get("server_name", "redis")), version, evicts)
