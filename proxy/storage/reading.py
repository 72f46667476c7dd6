"""Pairs as they are read: `PairReader` of `proxy.model.ports`.

A pair is what was recorded, with what late decisions made of it since (`late`). The indices by verdict are hints: a
pair may be gone, or a revision may have made another verdict of it; each reader looks at what it finds. A pair that
cannot be opened costs only itself, and is shown as `{id, unreadable: why}`. No call holds more in memory than a page.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

from proxy.model.errors import SealError, StoreFormatError
from proxy.model.words import Match
from proxy.outcomes.closing import merged
from proxy.storage import keys, totals
from proxy.storage.connection import Client, execute
from proxy.storage.sealing import Sealer

MAX_LIMIT: Final = 500
PAGE_BYTES: Final = 8 << 20
"""A page ends after this many bytes of documents."""
MAX_LOOKED: Final = 2_000
"""Places that are looked at for one page; where few of them hold what is asked for, it ends early."""

_CHUNK: Final = 50
_ID: Final = re.compile(r"\d{1,20}-\d{1,20}")
_OPEN: Final = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)_(\d{1,20}-\d{1,20})")
"""A place among the open pairs: when it expires, and its id."""
_PAIR_ID: Final = re.compile(r"([a-z0-9_-]{1,64})\.(\d{1,20}-\d{1,20})")


class _Place(NamedTuple):
    """Where a pair stands in what is gone through: `cursor` leads behind it. `document` may have come along."""

    cursor: str
    id: str
    document: bytes | None = None


class _Read(NamedTuple):
    pair: dict[str, Any]
    size: int


class PairArchive:
    """`sealer` opens documents."""

    def __init__(self, redis: Client, sealer: Sealer | None = None) -> None:
        self._redis, self._sealer = redis, sealer or Sealer()

    async def pairs(
        self, route: str, *, verdict: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[list[dict[str, Any]], str | None]:
        """See `PairReader`. `limit` is cut to MAX_LIMIT. A pair whose verdict was revised, and revised back, is there
        once for each time; on one page once."""
        _check_verdict(verdict)
        form = _OPEN if verdict == Match.PENDING else _ID
        if before is not None and not form.fullmatch(before):
            raise ValueError(f"{before!r} is no cursor; take it from `next` of the page before")
        limit = max(1, min(limit, MAX_LIMIT))
        found: dict[str, dict[str, Any]] = {}
        size = looked = 0
        while looked < MAX_LOOKED:
            count = min(_CHUNK, limit + 1 - len(found))
            places = await self._older(route, verdict, before, count)
            for place, read in zip(places, await self._read(route, places), strict=True):
                if read is not None and _fits(read.pair, verdict) and read.pair["id"] not in found:
                    if len(found) == limit or size >= PAGE_BYTES:
                        return list(found.values()), before
                    found[read.pair["id"]] = read.pair
                    size += read.size
                before = place.cursor
            if len(places) < count:
                return list(found.values()), None
            looked += len(places)
        return list(found.values()), before

    async def pair(self, pair_id: str) -> dict[str, Any] | None:
        match = _PAIR_ID.fullmatch(pair_id)
        if match is None:
            return None
        route, entry_id = match.groups()
        (read,) = await self._read(route, [_Place(entry_id, entry_id)])
        return read.pair if read is not None else None

    async def span(self, route: str, since: float) -> tuple[str, str] | None:
        """The places of the first and the last pair that were kept since then (Unix seconds); None where none was."""
        stream = keys.pairs(route)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(keys.layout(route))
        pipeline.xrange(stream, min=f"{max(0, int(since * 1000))}-0", max="+", count=1)
        pipeline.xrevrange(stream, max="+", min="-", count=1)
        layout, first, last = await execute(pipeline, [keys.layout(route), stream, stream])
        totals.check_layout(route, layout)
        return (first[0][0].decode(), last[0][0].decode()) if first and last else None

    async def following(
        self, route: str, *, after: str, until: str, verdict: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Pairs of a verdict as it is now, in the order in which they were kept, from behind one place up to another;
        and the place to go on from, None at the end. Not more than one chunk, and maybe none."""
        _check_verdict(verdict)
        stream = keys.pairs(route)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(keys.layout(route))
        pipeline.xrange(stream, min=f"({after}", max=until, count=_CHUNK)
        layout, entries = await execute(pipeline, [keys.layout(route), stream])
        totals.check_layout(route, layout)
        places = [_place(route, entry) for entry in entries]
        read = await self._read(route, places)
        found = [each.pair for each in read if each is not None and _fits(each.pair, verdict)]
        return found, places[-1].cursor if len(places) == _CHUNK else None

    # Places

    async def _older(self, route: str, verdict: str | None, before: str | None, count: int) -> list[_Place]:
        """Up to `count` places, newest first: of pairs, of an index by verdict, or of open pairs."""
        if verdict == Match.PENDING:
            return await self._open(route, before, count)
        stream = keys.pairs(route) if verdict is None else keys.verdict(route, verdict)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(keys.layout(route))
        pipeline.xrevrange(stream, max=f"({before}" if before else "+", min="-", count=count)
        layout, entries = await execute(pipeline, [keys.layout(route), stream])
        totals.check_layout(route, layout)
        if verdict is None:
            return [_place(route, entry) for entry in entries]
        # Layout 2 gave an entry its pair's own id.
        return [_Place(place.decode(), fields.get(b"of", place).decode()) for place, fields in entries]

    async def _open(self, route: str, before: str | None, count: int) -> list[_Place]:
        """Those that expire last come first: mostly the newest."""
        highest, last = "+inf", None
        if before is not None and (match := _OPEN.fullmatch(before)) is not None:
            highest, last = match.groups()
        key = keys.pending(route)
        found: list[_Place] = []
        offset = 0
        while len(found) < count:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.get(keys.layout(route))
            pipeline.zrevrangebyscore(key, highest, "-inf", start=offset, num=count + 1, withscores=True)
            layout, reply = await execute(pipeline, [keys.layout(route), key])
            totals.check_layout(route, layout)
            rows = [(member.decode(), repr(float(score))) for member, score in reply]
            # Of those that expire at the same moment the server gives the greater id first, as bytes are compared.
            found += [_Place(f"{score}_{member}", member) for member, score in rows
                      if score != highest or last is None or member < last]  # fmt: skip
            if len(rows) <= count:
                break
            offset += len(rows)
        return found[:count]

    # Documents

    async def _read(self, route: str, places: Sequence[_Place]) -> list[_Read | None]:
        """The pairs at these places, None where one is gone."""
        documents = await self._documents(route, places)
        waited: dict[str, bytes | None] = {}
        opened: dict[str, dict[str, Any]] = {}
        for place, document in zip(places, documents, strict=True):
            if document is not None and place.id not in opened:
                opened[place.id] = pair = self._decode(route, place.id, document)
                if "pending" in pair:
                    waited[place.id] = None
        if waited:
            waited = dict(zip(waited, await self._closed(route, list(waited)), strict=True))
        found: list[_Read | None] = []
        for place, document in zip(places, documents, strict=True):
            if document is None:
                found.append(None)
                continue
            closed = waited.get(place.id)
            pair = opened[place.id]
            found.append(_Read(self._merge(route, pair, closed) if closed else pair, len(document)))
        return found

    async def _documents(self, route: str, places: Sequence[_Place]) -> list[bytes | None]:
        missing = [place.id for place in places if place.document is None]
        if not missing:
            return [place.document for place in places]
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(keys.layout(route))
        for entry_id in missing:
            pipeline.xrange(keys.pairs(route), min=entry_id, max=entry_id)
        layout, *replies = await execute(pipeline, [keys.layout(route)] + [keys.pairs(route)] * len(missing))
        totals.check_layout(route, layout)
        found = iter([_place(route, entries[0]).document if entries else None for entries in replies])
        return [place.document if place.document is not None else next(found) for place in places]

    async def _closed(self, route: str, ids: list[str]) -> list[bytes | None]:
        pipeline = self._redis.pipeline(transaction=False)
        for entry_id in ids:
            pipeline.get(keys.closed(route, entry_id))
        return await execute(pipeline, [keys.closed(route, entry_id) for entry_id in ids])

    def _merge(self, route: str, pair: dict[str, Any], closed: bytes) -> dict[str, Any]:
        try:
            state = orjson.loads(self._sealer.open(closed, route))
        except SealError as error:
            return {"id": pair["id"], "unreadable": str(error)}
        except orjson.JSONDecodeError:
            state = None
        if not isinstance(state, dict):
            raise StoreFormatError(keys.closed(route, pair["id"].partition(".")[2]), "holds no decision")
        return merged(pair, state)

    def _decode(self, route: str, entry_id: str, document: bytes) -> dict[str, Any]:
        pair_id = f"{route}.{entry_id}"
        try:
            pair = orjson.loads(self._sealer.open(document, route))
        except SealError as error:
            return {"id": pair_id, "unreadable": str(error)}
        except orjson.JSONDecodeError:
            pair = None
        if not isinstance(pair, dict):
            raise StoreFormatError(keys.pairs(route), f"entry {entry_id} is no pair")
        return {"id": pair_id, **pair}


def _check_verdict(verdict: str | None) -> None:
    if verdict is not None and verdict not in list(Match):
        raise ValueError(f"{verdict!r} is no verdict; it is one of {', '.join(Match)}")


def _fits(pair: dict[str, Any], verdict: str | None) -> bool:
    """Of one that cannot be opened nobody knows; the index says so."""
    return verdict is None or "unreadable" in pair or pair.get("verdict") == verdict


def _place(route: str, entry: tuple[bytes, dict[bytes, bytes]]) -> _Place:
    entry_id, fields = entry[0].decode(), entry[1]
    if b"pair" not in fields:
        raise StoreFormatError(keys.pairs(route), f"entry {entry_id} is no pair")
    return _Place(entry_id, entry_id, fields[b"pair"])
