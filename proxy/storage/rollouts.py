"""The rollouts' states and histories in the store: `RolloutStore` of `proxy.model.ports`.

The rule: a state replaces only the one before it. The revision is compared and set in one script, so of two who move
the same rollout one gets ConflictError; and what is not a state of ours is never replaced.
"""

from typing import Final

from redis import asyncio as aredis

from proxy.model.errors import ConflictError, StoreFormatError
from proxy.model.rollouts import Event, Evidence, RolloutState
from proxy.rollout import codec
from proxy.storage import keys, totals
from proxy.storage.connection import ask
from proxy.storage.scripts import SAVE_STATE

MAX_HISTORY: Final = 1_000
"""Moves kept of each rollout, roughly: the server trims whole nodes of its stream."""


class StateStore:
    def __init__(self, redis: aredis.Redis) -> None:
        self._redis = redis

    async def load(self, route: str) -> RolloutState | None:
        key = keys.state(route)
        data = await ask(self._redis, "GET", key, key=key)
        return None if data is None else codec.decode_state(key, data)

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

    async def history(self, route: str, limit: int = 100) -> list[Event]:
        key = keys.history(route)
        entries = await ask(self._redis, "XREVRANGE", key, "+", "-", "COUNT", limit, key=key)
        return [_event(key, entry_id, fields) for entry_id, fields in entries]


def _event(key: str, entry_id: bytes, fields: dict[bytes, bytes]) -> Event:
    if b"event" not in fields:
        raise StoreFormatError(key, f"entry {entry_id.decode()} is no event of a rollout")
    return codec.decode_event(key, fields[b"event"])
