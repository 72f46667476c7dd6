"""What was handed over to the human, as it is read: by its id, and newest first (`EscalationReader` of
`proxy.model.ports`).

WRITE_BATCH keeps each escalation in the same step as its pair: an entry of the stream `escalations`, and
`escalation:<id>`, which names the pair. The pair is all that there is to know of it, so its document is what is read;
where that is gone (too old, or erased) nothing is left to show. While legacy is at it there is no pair yet: the entry
names NO_PAIR, and what is known of it is in `handed:<id>`.
"""

import re
from typing import Any, Final, NamedTuple

import orjson

from proxy.model.errors import SealError, StoreFormatError
from proxy.model.ports import PairReader
from proxy.outcomes.escalation import REASONS, summary
from proxy.storage import keys
from proxy.storage.connection import Client, ask
from proxy.storage.sealing import Sealer
from proxy.storage.steps import StepStore

MAX_LIMIT: Final = 500
"""Of one page."""
MAX_LOOKED: Final = 2_000
"""Entries that are looked at for one page; where few are of the reason that is asked for, it ends early."""

NO_PAIR: Final = "-"

_CHUNK: Final = 50
_CURSOR: Final = re.compile(r"\d{1,20}-\d{1,20}")
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Entry(NamedTuple):
    """One entry of the stream. `at` is when it was kept, in Unix seconds by the store's clock."""

    place: str
    id: str
    pair: str
    reason: str

    @property
    def at(self) -> float:
        return int(self.place.partition("-")[0]) / 1000


def read_entry(route: str, place: bytes, fields: dict[bytes, bytes]) -> Entry:
    """Raises StoreFormatError on what WRITE_BATCH did not write."""
    try:
        return Entry(place.decode(), fields[b"id"].decode(), fields[b"pair"].decode(), fields[b"reason"].decode())
    except (KeyError, UnicodeDecodeError) as error:
        raise StoreFormatError(keys.escalations(route), f"entry {place!r} is no escalation") from error


class EscalationStore:
    """See `EscalationReader`. Documents come from `pairs`, what the agent did from `steps` if given; `sealer` opens
    what is no pair yet."""

    def __init__(
        self, redis: Client, pairs: PairReader, steps: StepStore | None = None, sealer: Sealer | None = None
    ) -> None:
        self._redis, self._pairs, self._steps, self._sealer = redis, pairs, steps, sealer or Sealer()

    async def escalation(self, route: str, escalation_id: str) -> dict[str, Any] | None:
        if not _ID.fullmatch(escalation_id):
            return None
        pair = await self._document(route, escalation_id, NO_PAIR)
        return await self._with_steps(route, escalation_id, pair) if pair is not None else None

    async def of_pair(self, route: str, escalation_id: str, pair_id: str) -> dict[str, Any] | None:
        """The same, where an entry names the pair by its id within the route, or NO_PAIR."""
        pair = await self._document(route, escalation_id, pair_id)
        return await self._with_steps(route, escalation_id, pair) if pair is not None else None

    async def _document(self, route: str, escalation_id: str, pair_id: str) -> dict[str, Any] | None:
        """The pair; where there is none yet what is known."""
        if pair_id == NO_PAIR:
            key, before = keys.escalation(route, escalation_id), keys.handed(route, escalation_id)
            names = [key, before]
            found, known = await ask(self._redis, "MGET", *names, key=key)
            if found is None:
                return None if known is None else self._open(route, before, known)
            pair_id = found.decode("utf-8", "replace")
        return await self._pairs.pair(f"{route}.{pair_id}")

    def _open(self, route: str, key: str, known: bytes) -> dict[str, Any]:
        """One that does not open says why, as a pair does."""
        try:
            document = orjson.loads(self._sealer.open(known, route))
        except SealError as error:
            return {"id": None, "unreadable": str(error)}
        except orjson.JSONDecodeError as error:
            raise StoreFormatError(key, "is no escalation") from error
        return {"id": None, **document}

    async def _with_steps(self, route: str, escalation_id: str, pair: dict[str, Any]) -> dict[str, Any]:
        trace = pair.get("trace_id")
        if self._steps is not None and trace:
            trail = await self._steps.read(route, trace)
            if trail.steps:
                pair = {**pair, "steps": trail.steps, "step_totals": trail.totals}
        return {**summary(route, escalation_id, pair), "pair": pair}

    async def escalations(
        self, route: str, *, reason: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[list[dict[str, Any]], str | None]:
        if reason is not None and reason not in REASONS:
            raise ValueError(f"{reason!r} is no reason; it is one of {', '.join(REASONS)}")
        if before is not None and not _CURSOR.fullmatch(before):
            raise ValueError(f"{before!r} is no cursor; take it from `next` of the page before")
        limit = max(1, min(limit, MAX_LIMIT))
        found: list[dict[str, Any]] = []
        looked = 0
        while looked < MAX_LOOKED:
            entries = await self._older(route, before)
            for entry in entries:
                if reason is None or entry.reason == reason:
                    if len(found) == limit:
                        return found, before
                    pair = await self._document(route, entry.id, entry.pair)
                    if pair is not None:
                        found.append({**summary(route, entry.id, pair), "reason": entry.reason})
                before = entry.place
            looked += len(entries)
            if len(entries) < _CHUNK:
                return found, None
        return found, before

    async def _older(self, route: str, before: str | None) -> list[Entry]:
        stream = keys.escalations(route)
        last = f"({before}" if before else "+"
        entries = await ask(self._redis, "XREVRANGE", stream, last, "-", "COUNT", _CHUNK, key=stream)
        return [read_entry(route, place, fields) for place, fields in entries]
