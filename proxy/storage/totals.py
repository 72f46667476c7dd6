"""The evidence of one stage as a hash of counts. Absent fields are 0; anything but whole numbers is not ours.

| field | counts |
|---|---|
| those of `tally.FIELDS` | the counts of `Evidence` |
| `segment:<name>:matched`, `segment:<name>:mismatched` | pairs of one segment; both fields are there, or neither |
| `decision:<JSON of [legacy, agent]>` | pairs with these two decisions |
| `field:<path>:pairs`, `field:<path>:repeats` | pairs and repeats that differ there; both fields, or neither |
| `segments`, `decisions`, `fields` | how many of these were given a place: MAX_NAMED of each, others went to OTHER |
"""

from typing import Any, Final, NamedTuple

import orjson

from proxy.model.errors import StoreFormatError
from proxy.model.rollouts import OTHER, Evidence
from proxy.storage import keys
from proxy.storage.connection import Client, execute
from proxy.storage.tally import FIELDS, Cell, beyond, from_row, row

SEGMENTS: Final = "segments"
DECISIONS: Final = "decisions"
PLACES: Final = "fields"

_SEGMENT: Final = "segment:"
_DECISION: Final = "decision:"
_MATCHED: Final = ":matched"
_MISMATCHED: Final = ":mismatched"
_FIELD: Final = "field:"
_PAIRS: Final = ":pairs"
_REPEATS: Final = ":repeats"


class Named(NamedTuple):
    """Fields that get their place together, or not: then their counts go to the fields `beyond`."""

    kind: str
    fields: tuple[str, ...]
    beyond: tuple[str, ...]
    counts: tuple[int, ...]


def fixed(evidence: Evidence) -> list[tuple[str, int]]:
    """(field, count) of what is not 0 and has no name of its own."""
    return [(field, count) for field, count in zip(FIELDS, row(evidence), strict=True) if count]


def named(evidence: Evidence) -> list[Named]:
    """What is counted by name."""
    found = [Named(SEGMENTS, _of(name), _of(OTHER), counts) for name, counts in evidence.segments.items()]
    for cell, count in evidence.decisions.items():
        found.append(Named(DECISIONS, (_cell(cell),), (_cell(beyond(cell)),), (count,)))
    found += [Named(PLACES, _at(path), _at(OTHER), counts) for path, counts in evidence.fields.items()]
    return found


def counts(evidence: Evidence) -> list[str | int]:
    """As scripts take them (`scripts.COUNTS`): by field, then by name."""
    by_field, by_name = fixed(evidence), named(evidence)
    values: list[str | int] = [len(by_field)]
    for field_and_count in by_field:
        values += field_and_count
    values.append(len(by_name))
    for kind, fields, others, numbers in by_name:
        values += (kind, len(fields), *fields, *others, *numbers)
    return values


async def read(redis: Client, route: str, version: str, epoch: int, stage: str) -> Evidence:
    """What is stored; zeros where nothing is. Raises StoreUnavailableError, StoreFormatError."""
    layout, key = keys.layout(route), keys.totals(route, version, epoch, stage)
    pipeline: Any = redis.pipeline(transaction=False)
    pipeline.execute_command("GET", layout)
    pipeline.execute_command("HGETALL", key)
    found, fields = await execute(pipeline, [layout, key])
    check_layout(route, found)
    return _decode(key, fields)


def check_layout(route: str, found: bytes | None) -> None:
    """Refuse a route whose keys were written in a layout that is not known. StoreFormatError."""
    if found is not None and found not in [str(number).encode() for number in keys.READABLE]:
        raise StoreFormatError(
            keys.layout(route),
            f"is {found[:20]!r}, and this Crossfade knows {keys.LAYOUT}; run a newer Crossfade or use another store",
        )


def _of(segment: str) -> tuple[str, str]:
    return f"{_SEGMENT}{segment}{_MATCHED}", f"{_SEGMENT}{segment}{_MISMATCHED}"


def _at(path: str) -> tuple[str, str]:
    return f"{_FIELD}{path}{_PAIRS}", f"{_FIELD}{path}{_REPEATS}"


def _cell(cell: Cell) -> str:
    return _DECISION + orjson.dumps(cell).decode()


def _decode(key: str, found: dict[bytes, bytes]) -> Evidence:
    counts = dict.fromkeys(FIELDS, 0)
    segments: dict[str, tuple[int, int]] = {}
    decisions: dict[Cell, int] = {}
    fields: dict[str, tuple[int, int]] = {}
    for field, value in found.items():
        name = field.decode(errors="replace")
        if not value.isdigit():
            raise _not_ours(key, name, value)
        number = int(value)
        if name in counts:
            counts[name] = number
        elif name.startswith(_SEGMENT) and name.endswith(_MATCHED):
            segment = name[len(_SEGMENT) : -len(_MATCHED)]
            segments[segment] = (number, segments.get(segment, (0, 0))[1])
        elif name.startswith(_SEGMENT) and name.endswith(_MISMATCHED):
            segment = name[len(_SEGMENT) : -len(_MISMATCHED)]
            segments[segment] = (segments.get(segment, (0, 0))[0], number)
        elif name.startswith(_DECISION):
            decisions[_read_cell(key, name, value)] = number
        elif name.startswith(_FIELD) and name.endswith(_PAIRS):
            path = name[len(_FIELD) : -len(_PAIRS)]
            fields[path] = (number, fields.get(path, (0, 0))[1])
        elif name.startswith(_FIELD) and name.endswith(_REPEATS):
            path = name[len(_FIELD) : -len(_REPEATS)]
            fields[path] = (fields.get(path, (0, 0))[0], number)
        elif name not in (SEGMENTS, DECISIONS, PLACES):
            raise _not_ours(key, name, value)
    return from_row(counts.values(), segments, decisions, fields)


def _read_cell(key: str, name: str, value: bytes) -> Cell:
    try:
        legacy, agent = orjson.loads(name[len(_DECISION) :])
    except (ValueError, TypeError):
        raise _not_ours(key, name, value) from None
    if not (isinstance(legacy, str) and isinstance(agent, str)):
        raise _not_ours(key, name, value)
    return legacy, agent


def _not_ours(key: str, name: str, value: bytes) -> StoreFormatError:
    return StoreFormatError(key, f"field {name[:40]!r} holds {value[:20]!r}; that is no count of Crossfade's")
