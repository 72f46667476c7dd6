"""Pairs and evidence in the store: `PairWriter` and `PairReader` of `proxy.model.ports`.

The rule: a batch is (source, seq), and it is written exactly once, whatever is sent again. Of each source the highest
number written is kept; batches of one source come in order, so a number at or below it was written. Totals, pairs and
that mark change in one script.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import orjson

from proxy.model.errors import StoreError, StoreFormatError
from proxy.model.rollouts import Batch
from proxy.storage import keys, totals
from proxy.storage.connection import Client, translate, translated
from proxy.storage.scripts import VERDICTS, WRITE_BATCH

SEEN_SECONDS: Final = 7 * 86_400
"""How long a worker's life is remembered after its last batch. What waits longer in a spool may count twice."""

TOTALS_SECONDS: Final = 400 * 86_400
"""How long a stage's evidence outlives its last batch."""

MAX_BYTES: Final = 1 << 30
"""Of memory that the pairs of one route may take in the store, whatever `max_pairs` says; the oldest go first."""

STORE_BYTES: Final = "store_bytes"
"""The reason for which those pairs are dropped."""

MAX_LIMIT: Final = 500
PAGE_BYTES: Final = 8 << 20
"""A page ends after this many bytes of documents."""

_CHUNK: Final = 50
_ID: Final = re.compile(r"\d{1,20}-\d{1,20}")
_PAIR_ID: Final = re.compile(r"([a-z0-9_-]{1,64})\.(\d{1,20}-\d{1,20})")
_VERDICT_NUMBER: Final[dict[str | None, int]] = {None: 0, **{word: n for n, word in enumerate(VERDICTS, start=1)}}


def _tell_nobody(_route: str, _reason: str, _pairs: int) -> None:
    pass


class PairStore:
    """`dropped` is told (route, reason, how many pairs) of those that went before `max_pairs` was reached."""

    def __init__(self, redis: Client, dropped: Callable[[str, str, int], None] = _tell_nobody) -> None:
        self._redis, self._dropped = redis, dropped

    async def write(self, batches: list[Batch]) -> list[bool]:
        """See `PairWriter`. All go in one round trip; after an error some may be written: send all of them again."""
        pipeline = self._redis.pipeline(transaction=False)
        last: dict[tuple[str, str], int] = {}
        for batch in batches:
            life = (batch.route, batch.source)
            pipeline.execute_command("EVAL", WRITE_BATCH, *_arguments(batch, last.get(life, -1)))
            last[life] = batch.seq
        with translated():
            replies = await pipeline.execute(raise_on_error=False)
        _raise_worst([translate(reply) for reply in replies if isinstance(reply, Exception)])
        for batch, reply in zip(batches, replies, strict=True):
            if reply > 1:
                self._dropped(batch.route, STORE_BYTES, reply - 1)
        return [reply > 0 for reply in replies]

    async def pairs(
        self, route: str, *, verdict: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[list[dict[str, Any]], str | None]:
        """See `PairReader`. `limit` is cut to MAX_LIMIT."""
        if verdict is not None and verdict not in VERDICTS:
            raise ValueError(f"{verdict!r} is no verdict; it is one of {', '.join(VERDICTS)}")
        if before is not None and not _ID.fullmatch(before):
            raise ValueError(f"{before!r} is no cursor; take it from `next` of the page before")
        limit = max(1, min(limit, MAX_LIMIT))
        found: list[dict[str, Any]] = []
        size = 0
        while True:
            count = min(_CHUNK, limit + 1 - len(found))
            ids, documents = await self._older(route, verdict, before, count)
            for entry_id, document in documents:
                if len(found) == limit or size >= PAGE_BYTES:
                    return found, before
                found.append(_decode(route, entry_id, document))
                size += len(document)
                before = entry_id
            # An index may hold ids of pairs that were trimmed; once a whole chunk is gone, so are all older ones.
            if len(ids) < count or not documents:
                return found, None
            before = ids[-1]

    async def pair(self, pair_id: str) -> dict[str, Any] | None:
        match = _PAIR_ID.fullmatch(pair_id)
        if match is None:
            return None
        route, entry_id = match.groups()
        documents = await self._documents(route, [entry_id])
        return _decode(route, *documents[0]) if documents else None

    async def _older(
        self, route: str, verdict: str | None, before: str | None, count: int
    ) -> tuple[list[str], list[tuple[str, bytes]]]:
        """Up to `count` ids, and the documents of those that are still there; newest first."""
        stream = keys.pairs(route) if verdict is None else keys.verdict(route, verdict)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(keys.layout(route))
        pipeline.xrevrange(stream, max=f"({before}" if before else "+", min="-", count=count)
        layout, entries = await _execute(pipeline, [keys.layout(route), stream])
        totals.check_layout(route, layout)
        ids = [entry_id.decode() for entry_id, _ in entries]
        if verdict is not None:
            return ids, await self._documents(route, ids)
        return ids, [_document(route, entry) for entry in entries]

    async def _documents(self, route: str, ids: list[str]) -> list[tuple[str, bytes]]:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(keys.layout(route))
        for entry_id in ids:
            pipeline.xrange(keys.pairs(route), min=entry_id, max=entry_id)
        layout, *found = await _execute(pipeline, [keys.layout(route)] + [keys.pairs(route)] * len(ids))
        totals.check_layout(route, layout)
        return [_document(route, entries[0]) for entries in found if entries]


def _arguments(batch: Batch, before: int) -> list[str | bytes | int]:
    """The number of keys, the keys and the arguments of WRITE_BATCH."""
    route = batch.route
    names = [keys.layout(route), keys.seen(route, batch.source), keys.pairs(route)]
    names += [keys.verdict(route, word) for word in VERDICTS]
    names += [keys.totals(route, version, epoch, stage) for version, epoch, stage in batch.evidence]
    values: list[str | bytes | int] = [keys.LAYOUT, batch.seq, before]
    values += [SEEN_SECONDS, TOTALS_SECONDS, batch.max_pairs, MAX_BYTES]
    for evidence in batch.evidence.values():
        values += totals.row(evidence)
    for verdict, document in batch.pairs:
        values += (_VERDICT_NUMBER[verdict], document)
    return [len(names), *names, *values]


def _raise_worst(errors: list[StoreError]) -> None:
    """An unreachable store goes before a bad key: then nothing is known of the other batches."""
    for error in errors:
        if not isinstance(error, StoreFormatError):
            raise error
    if errors:
        raise errors[0]


async def _execute(pipeline: Any, names: list[str]) -> list[Any]:
    with translated():
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
    for key, reply in zip(names, replies, strict=True):
        if isinstance(reply, Exception):
            raise translate(reply, key) from reply
    return replies


def _document(route: str, entry: tuple[bytes, dict[bytes, bytes]]) -> tuple[str, bytes]:
    entry_id, fields = entry
    if b"pair" not in fields:
        raise StoreFormatError(keys.pairs(route), f"entry {entry_id.decode()} is no pair")
    return entry_id.decode(), fields[b"pair"]


def _decode(route: str, entry_id: str, document: bytes) -> dict[str, Any]:
    try:
        pair = orjson.loads(document)
    except orjson.JSONDecodeError:
        pair = None
    if not isinstance(pair, dict):
        raise StoreFormatError(keys.pairs(route), f"entry {entry_id} is no pair")
    return {"id": f"{route}.{entry_id}", **pair}
