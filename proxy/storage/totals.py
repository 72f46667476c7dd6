"""The evidence of one stage as a hash of nine counts. Absent fields are 0; anything but whole numbers is not ours."""

from typing import Final

from redis import asyncio as aredis

from proxy.model.errors import StoreFormatError
from proxy.model.rollouts import ArmCount, Evidence
from proxy.storage import keys
from proxy.storage.connection import ask

FIELDS: Final = (
    "legacy_requests", "legacy_failed", "legacy_slow",
    "agent_requests", "agent_failed", "agent_slow",
    "matched", "mismatched", "incomparable",
)  # fmt: skip
"""In the order of `row`."""


def row(evidence: Evidence) -> tuple[int, ...]:
    """The counts in the order of FIELDS."""
    legacy, agent = evidence.legacy, evidence.agent
    return (
        legacy.requests, legacy.failed, legacy.slow,
        agent.requests, agent.failed, agent.slow,
        evidence.matched, evidence.mismatched, evidence.incomparable,
    )  # fmt: skip


def from_row(counts: tuple[int, ...]) -> Evidence:
    """The inverse of `row`."""
    return Evidence(ArmCount(*counts[:3]), ArmCount(*counts[3:6]), *counts[6:])


def add(one: Evidence, other: Evidence) -> Evidence:
    return from_row(tuple(a + b for a, b in zip(row(one), row(other), strict=True)))


async def read(redis: aredis.Redis, route: str, version: str, epoch: int, stage: str) -> Evidence:
    """What is stored; zeros where nothing is. Raises StoreUnavailableError, StoreFormatError."""
    key = keys.totals(route, version, epoch, stage)
    check_layout(route, await ask(redis, "GET", keys.layout(route), key=keys.layout(route)))
    return _decode(key, await ask(redis, "HGETALL", key, key=key))


def check_layout(route: str, found: bytes | None) -> None:
    """Refuse a route whose keys were written in another layout. StoreFormatError."""
    if found is not None and found != str(keys.LAYOUT).encode():
        raise StoreFormatError(
            keys.layout(route),
            f"is {found[:20]!r}, and this Crossfade knows {keys.LAYOUT}; run a newer Crossfade or use another store",
        )


def _decode(key: str, found: dict[bytes, bytes]) -> Evidence:
    counts = dict.fromkeys(FIELDS, 0)
    for field, value in found.items():
        name = field.decode(errors="replace")
        if name not in counts or not value.isdigit():
            raise StoreFormatError(key, f"field {name[:40]!r} holds {value[:20]!r}; that is no count of Crossfade's")
        counts[name] = int(value)
    return from_row(tuple(counts.values()))
