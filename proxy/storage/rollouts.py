"""The rollouts' states and histories in the store: `RolloutStore` and `HistoryReader` of `proxy.model.ports`.

The rule: a state replaces only the one before it. The revision is compared and set in one script, so of two who move
the same rollout one gets ConflictError; and what is not a state of ours is never replaced.
"""

from collections.abc import Sequence
from typing import Any, Final

import structlog

from proxy.model.errors import ConflictError, StoreError, StoreFormatError
from proxy.model.rollouts import Event, Evidence, RolloutState, Users
from proxy.model.words import Arm
from proxy.rollout import codec
from proxy.storage import keys, totals
from proxy.storage.connection import Client, ask, execute, translate, translated
from proxy.storage.scripts import SAVE_GUARD, SAVE_STATE

_log = structlog.get_logger()

MAX_HISTORY: Final = 1_000
"""Moves kept of each rollout, roughly: the server trims whole nodes of its stream."""

GUARD_SECONDS: Final = 86_400
"""How long the guard's memory is kept; older faults say nothing of today."""
MAX_GUARD_BYTES: Final = 1 << 20


class StateStore:
    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._too_large: set[str] = set()

    async def load(self, route: str) -> RolloutState | None:
        key = keys.state(route)
        data = await ask(self._redis, "GET", key, key=key)
        return None if data is None else codec.decode_state(key, data)

    async def load_all(self, routes: Sequence[str]) -> list[RolloutState | StoreError | None]:
        """See `RolloutStore`."""
        pipeline: Any = self._redis.pipeline(transaction=False)
        for route in routes:
            pipeline.execute_command("GET", keys.state(route))
        with translated():
            replies = await pipeline.execute(raise_on_error=False)
        return [_state(keys.state(route), reply) for route, reply in zip(routes, replies, strict=True)]

    async def save(self, state: RolloutState, event: Event | None) -> None:
        """See `RolloutStore`. The same state twice in a row is saved once, so a lost reply does no harm."""
        names = [keys.state(state.route), keys.history(state.route)]
        move = codec.encode_event(event) if event else b""
        values = (codec.FORMAT, state.revision, codec.encode_state(state), MAX_HISTORY, move)
        stored = await ask(self._redis, "EVAL", SAVE_STATE, len(names), *names, *values)
        if stored != state.revision:
            raise ConflictError(f"{state.route}: someone else moved this rollout; look at it and try again")

    async def evidence(self, route: str, version: str, epoch: int, stage: str) -> Evidence:
        return await totals.read(self._redis, route, version, epoch, stage)

    async def users(self, route: str, version: str, epoch: int, stage: str, weight: int) -> Users:
        """See `RolloutStore`."""
        names = [keys.users(route, version, epoch, stage, weight, arm) for arm in (Arm.LEGACY, Arm.AGENT)]
        pipeline: Any = self._redis.pipeline(transaction=False)
        pipeline.execute_command("GET", keys.layout(route))
        for name in names:
            pipeline.execute_command("BITCOUNT", name)
        layout, legacy, agent = await execute(pipeline, [keys.layout(route), *names])
        totals.check_layout(route, layout)
        return Users(legacy, agent)

    async def load_guard(self, route: str) -> bytes | None:
        key = keys.guard(route)
        data: bytes | None = await ask(self._redis, "GET", key, key=key)
        return data

    async def save_guard(self, route: str, data: bytes) -> None:
        """See `RolloutStore`. More than MAX_GUARD_BYTES is logged, once for each route, and not kept."""
        if len(data) > MAX_GUARD_BYTES:
            if route not in self._too_large:
                self._too_large.add(route)
                _log.error("guard_not_kept", route=route, bytes=len(data), limit=MAX_GUARD_BYTES)
            return
        await ask(self._redis, "EVAL", SAVE_GUARD, 1, keys.guard(route), data, GUARD_SECONDS)

    async def history(self, route: str, limit: int = 100) -> list[Event]:
        key = keys.history(route)
        entries = await ask(self._redis, "XREVRANGE", key, "+", "-", "COUNT", limit, key=key)
        return [_event(key, entry_id, fields) for entry_id, fields in entries]

    async def stages(self, route: str, limit: int = 100) -> list[tuple[str, int, str]]:
        """See `HistoryReader`."""
        key = keys.stages(route)
        found = [_stage(key, name) for name in await ask(self._redis, "ZREVRANGE", key, 0, max(limit, 1) - 1, key=key)]
        pipeline: Any = self._redis.pipeline(transaction=False)
        pipeline.execute_command("GET", keys.layout(route))
        for stage in found:
            pipeline.execute_command("TTL", keys.totals(route, *stage))
        layout, *left = await execute(pipeline, [keys.layout(route)] + [keys.totals(route, *stage) for stage in found])
        totals.check_layout(route, layout)
        return [stage for stage, seconds in zip(found, left, strict=True) if seconds != _GONE]


_GONE: Final = -2
"""TTL of a key that is not there."""


def _state(key: str, reply: Any) -> RolloutState | StoreError | None:
    if reply is None:
        return None
    if isinstance(reply, Exception):
        return translate(reply, key)
    try:
        return codec.decode_state(key, reply)
    except StoreFormatError as error:
        return error


def _stage(key: str, name: bytes) -> tuple[str, int, str]:
    try:
        return keys.split_stage(name.decode())
    except ValueError:
        raise StoreFormatError(key, f"member {name[:40]!r} is no stage") from None


def _event(key: str, entry_id: bytes, fields: dict[bytes, bytes]) -> Event:
    if b"event" not in fields:
        raise StoreFormatError(key, f"entry {entry_id.decode()} is no event of a rollout")
    return codec.decode_event(key, fields[b"event"])
