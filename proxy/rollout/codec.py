"""Rollout state and events as the store keeps them: JSON objects with `format: 2`.

Format 1 lacks what has come since (a state's `warned`, a gate's `dry_run`), which then is as its default says. Whatever
is none of the two, a newer format included, raises StoreFormatError and must not be overwritten.
"""

from dataclasses import asdict
from functools import cache
from math import isfinite
from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from proxy.model.errors import StoreFormatError
from proxy.model.rollouts import Event, RolloutState
from proxy.model.snapshot import BUCKETS

FORMAT: Final = 2


def encode_state(state: RolloutState) -> bytes:
    return _encode(state)


def decode_state(key: str, data: bytes) -> RolloutState:
    """The state that `encode_state` wrote. Raises StoreFormatError, naming `key`, on anything else."""
    state: RolloutState = _decode(key, data, _state_adapter())
    for name, value, least, most in (
        ("stage", state.stage, 0, None),
        ("weight", state.weight, 0, BUCKETS),
        ("shadow", state.shadow, 0, BUCKETS),
        ("epoch", state.epoch, 1, None),
        ("revision", state.revision, 1, None),
        ("soaked", state.soaked, 0, None),
    ):
        if value < least or (most is not None and value > most) or not isfinite(value):
            raise StoreFormatError(key, f"{name} is {value}, which no rollout can be at")
    return state


def encode_event(event: Event) -> bytes:
    return _encode(event)


def decode_event(key: str, data: bytes) -> Event:
    """The event that `encode_event` wrote. Raises StoreFormatError, naming `key`, on anything else."""
    event: Event = _decode(key, data, _event_adapter())
    return event


@cache
def _state_adapter() -> TypeAdapter[RolloutState]:
    return TypeAdapter(RolloutState)


@cache
def _event_adapter() -> TypeAdapter[Event]:
    return TypeAdapter(Event)


def _encode(value: RolloutState | Event) -> bytes:
    return orjson.dumps({"format": FORMAT, **asdict(value)})


def _decode(key: str, data: bytes, adapter: TypeAdapter[Any]) -> Any:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise StoreFormatError(key, f"holds no JSON ({error}); not ours, left as it is") from None
    found = document.get("format") if isinstance(document, dict) else None
    if type(found) is not int:
        raise StoreFormatError(key, "holds JSON without a format number; not ours, left as it is")
    if found < 1:
        raise StoreFormatError(key, f"holds format {found}, which no Crossfade wrote; left as it is")
    if found > FORMAT:
        raise StoreFormatError(
            key, f"holds format {found} of a newer Crossfade, this one reads {FORMAT}; upgrade, or use another store"
        )
    try:
        return adapter.validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StoreFormatError(key, f"holds a damaged record: {where}: {first['msg']}") from None
