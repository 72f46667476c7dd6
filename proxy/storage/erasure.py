"""Forgetting one person: all that the store holds of the requests of one key on one route.

The rule: first it is noted that the person is erased, and from then on nothing is written that was recorded before, in
whose spool or memory it may still wait (WRITE_BATCH looks, in the step that writes). So what was there at that moment
is all there is to find, and one search through it finds it.

A pair's document is the only place that tells what else belongs to it. So that goes first, and the pair last: an
erasure that was cut off is done by being asked for again. What belongs to a pair: its entries in the indices, what late
decisions made of it, by what these find it and those that wait for it, what was handed over to the human, what the
agent did in its trace.

The server deletes an entry of a stream by marking it: its bytes stay in memory, and in the server's files, until those
beside it are gone too. So the pairs are written anew, a few at a time, and take the place of the others in one step;
and so are late decisions that wait.

`erased` holds, by a digest of the key hash, until when (Unix seconds) what was recorded is not kept; and `:rewrite`
while the pairs have still to be written anew.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any, Final, NamedTuple

import orjson

from proxy.model.errors import CommandError, SealError, StoreError
from proxy.model.words import Match
from proxy.outcomes.late import decode
from proxy.storage import keys, totals
from proxy.storage.connection import Client, ask, execute
from proxy.storage.erasure_scripts import BEGIN, ERASE_PAIR, HOLD, REWRITE, REWRITE_SMALL
from proxy.storage.escalations import NO_PAIR, Entry, read_entry
from proxy.storage.sealing import Sealer
from proxy.storage.steps import StepStore

REMEMBERED: Final = 30 * 86_400
"""Seconds for which nothing of an erased person's past is written: as long as a spool may wait."""
MAX_TARGETS: Final = 20_000
"""Pairs that are found before what belongs to them is looked for: the bound of memory."""

MAX_SMALL: Final = 5_000
"""Entries of a stream that are written anew at once."""

_HELD: Final = 60
_DOCUMENTS: Final = 50
_ENTRIES: Final = 500
_COPIED: Final = 100
_INDICES: Final = tuple(match.value for match in Match if match is not Match.PENDING)


class Erased(NamedTuple):
    """What was erased on one route: pairs; pairs of them to which a late decision had come; hand-overs to the human;
    traces of the agent's work; late decisions that waited for their pair. `unreadable` are entries that do not open, so
    that nobody knows whose they are."""

    pairs: int = 0
    outcomes: int = 0
    escalations: int = 0
    traces: int = 0
    waiting: int = 0
    unreadable: int = 0


@dataclass(slots=True)
class _Targets:
    """What was found of a person, and what it names."""

    pairs: dict[str, list[str]] = field(default_factory=dict)
    """By id, with the refs."""
    refs: set[str] = field(default_factory=set)
    traces: set[str] = field(default_factory=set)
    handed: set[str] = field(default_factory=set)

    def add(self, document: dict[str, Any], pair: str | None) -> None:
        refs = list((document.get("pending") or {}).get("refs", ()))
        if pair is not None:
            self.pairs[pair] = refs
        self.refs.update(refs)
        if document.get("trace_id"):
            self.traces.add(document["trace_id"])
        if document.get("escalation"):
            self.handed.add(document["escalation"]["id"])


def digest(key_hash: str) -> str:
    """By which `erased` knows a person; the scripts make it themselves. What is erased shall not stand there."""
    return sha1(key_hash.encode(), usedforsecurity=False).hexdigest()


class ErasureStore:
    def __init__(self, redis: Client, sealer: Sealer) -> None:
        self._redis, self._sealer = redis, sealer
        self._steps = StepStore(redis, sealer)

    async def erase(self, route: str, hashes: Collection[str], until: float) -> Erased:
        """Forget whom these key hashes (hex) mean, recorded until then (Unix seconds). Raises CommandError while
        somebody else is erased from the route."""
        layout = await ask(self._redis, "GET", keys.layout(route), key=keys.layout(route))
        totals.check_layout(route, layout)
        erasure = _Erasure(self._redis, self._sealer, self._steps, route, frozenset(hashes))
        await erasure.begin(f"{until:.3f}")
        try:
            return await erasure.run()
        finally:
            await erasure.hold(0)

    async def rewrite(self, route: str) -> None:
        """Write the pairs anew where an erasure was cut off before it did. Raises CommandError as `erase` does."""
        erasure = _Erasure(self._redis, self._sealer, self._steps, route, frozenset())
        await erasure.begin("0")
        try:
            await erasure.rewrite()
        finally:
            await erasure.hold(0)

    async def rewrite_files(self, patience: float) -> bool:
        """Have the server write its append-only file anew, without what was deleted: for a server of our own. Whether
        that was done within so many seconds."""
        await ask(self._redis, "BGREWRITEAOF")
        try:
            async with asyncio.timeout(patience):
                while await self._rewriting():  # noqa: ASYNC110  # the server tells nobody when it is done
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return False
        return True

    async def _rewriting(self) -> bool:
        told = await ask(self._redis, "INFO", "persistence")
        return any(bool(told.get(name)) for name in ("aof_rewrite_in_progress", "aof_rewrite_scheduled"))


class _Erasure:
    """One of them, on one route."""

    def __init__(self, redis: Client, sealer: Sealer, steps: StepStore, route: str, hashes: frozenset[str]) -> None:
        self._redis, self._sealer, self._steps, self._route, self._hashes = redis, sealer, steps, route, hashes
        self._token = secrets.token_hex(8)
        self._needles = [f'"key_hash":"{each}"'.encode() for each in hashes]
        self._counts = dict.fromkeys(Erased._fields, 0)

    async def begin(self, until: str) -> None:
        names = (keys.erasing(self._route), keys.erased(self._route))
        digests = [digest(each) for each in self._hashes]
        words: list[str | int] = [len(names), *names, self._token, _HELD, until, REMEMBERED, *digests]
        if not await ask(self._redis, "EVAL", BEGIN, *words):
            raise CommandError(f"somebody else is being erased from {self._route}; try again in a minute")

    async def hold(self, seconds: int = _HELD) -> None:
        key = keys.erasing(self._route)
        if not await ask(self._redis, "EVAL", HOLD, 1, key, self._token, seconds, key=key) and seconds:
            raise CommandError(f"the erasure from {self._route} took too long at one place; ask for it again")

    async def run(self) -> Erased:
        after = ""
        while True:
            targets = _Targets()
            rest = await self._find(targets, after)
            await self._find_handed(targets)
            await self._forget_indices(targets)
            await self._forget_waiting(targets)
            await self._forget_steps(targets)
            await self._forget_pairs(targets)
            await self._forget_waiting(targets)  # what came meanwhile
            if rest is None:
                break
            after = rest
        await self._rewrite_small()
        await self.rewrite()
        return Erased(**self._counts)

    # Finding

    async def _find(self, targets: _Targets, after: str) -> str | None:
        """Behind the pair `after`, up to MAX_TARGETS of them. The last that was looked at, None at the end."""
        async for place, fields in self._entries(keys.pairs(self._route), _DOCUMENTS, after):
            after = place
            document = self._of_person(fields.get(b"pair", b""))
            if document is not None:
                targets.add(document, place)
                if len(targets.pairs) == MAX_TARGETS:
                    return after
        return None

    async def _find_handed(self, targets: _Targets) -> None:
        """What was handed over and is no pair yet."""
        open_ = [entry.id async for entry in self._escalations() if entry.pair == NO_PAIR]
        for some in _slices(open_, _DOCUMENTS):
            names = [keys.handed(self._route, escalation) for escalation in some]
            for known in await ask(self._redis, "MGET", *names, key=names[0]):
                document = self._of_person(known) if known is not None else None
                if document is not None:
                    targets.add(document, None)

    def _of_person(self, sealed: bytes) -> dict[str, Any] | None:
        """The document, where it is one of the person's."""
        try:
            data = self._sealer.open(sealed, self._route)
        except SealError:
            self._counts["unreadable"] += 1
            return None
        if not any(needle in data for needle in self._needles):
            return None
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            return None
        mine = isinstance(document, dict) and document.get("key_hash") in self._hashes
        return document if mine else None

    # Forgetting

    async def _forget_indices(self, targets: _Targets) -> None:
        for word in _INDICES:
            stream = keys.verdict(self._route, word)
            mine = [
                place
                async for place, fields in self._entries(stream, _ENTRIES)
                if fields.get(b"of", place.encode()).decode() in targets.pairs
            ]
            await self._delete(stream, mine)
        told = [
            entry async for entry in self._escalations() if entry.pair in targets.pairs or entry.id in targets.handed
        ]
        self._counts["escalations"] += await self._delete(
            keys.escalations(self._route), [entry.place for entry in told]
        )
        for some in _slices([*targets.handed, *(entry.id for entry in told)]):
            names = [name(self._route, each) for each in some for name in (keys.escalation, keys.handed)]
            await ask(self._redis, "DEL", *names, key=names[0])
        untold = keys.untold(self._route)
        for entries in _slices(told):
            await ask(self._redis, "ZREM", untold, *(" ".join(entry) for entry in entries), key=untold)

    async def _forget_waiting(self, targets: _Targets) -> None:
        """Late decisions that are not joined yet."""
        inbox = keys.outcomes(self._route)
        mine = [place async for place, fields in self._entries(inbox, _ENTRIES) if self._ref(fields) in targets.refs]
        self._counts["waiting"] += await self._delete(inbox, mine)
        for refs in _slices(targets.refs):
            pipeline: Any = self._redis.pipeline(transaction=False)
            names = [keys.early(self._route, ref) for ref in refs]
            for name in names:
                pipeline.llen(name)
                pipeline.delete(name)
            replies = await execute(pipeline, [name for name in names for _ in range(2)])
            self._counts["waiting"] += sum(replies[::2])
            index = keys.given_up(self._route)
            await ask(self._redis, "ZREM", index, *refs, key=index)

    def _ref(self, fields: dict[bytes, bytes]) -> str:
        if b"again" in fields:
            return fields[b"again"].decode("ascii", "replace")
        try:
            return decode(self._sealer.open(fields.get(b"outcome", b""), self._route)).ref
        except (StoreError, ValueError, TypeError):
            return ""  # who joins them says so

    async def _forget_steps(self, targets: _Targets) -> None:
        for traces in _slices(targets.traces):
            pipeline: Any = self._redis.pipeline(transaction=False)
            names = [keys.steps(self._route, trace) for trace in traces]
            for name in names:
                pipeline.hexists(name, ":spans")
            self._counts["traces"] += sum(map(int, await execute(pipeline, names)))
            await self._steps.forget(self._route, traces)

    async def _forget_pairs(self, targets: _Targets) -> None:
        shared = (keys.pairs(self._route), keys.pending(self._route), keys.erased(self._route))
        for some in _slices(targets.pairs.items()):
            pipeline: Any = self._redis.pipeline(transaction=False)
            for pair, refs in some:
                names = (*shared, keys.closed(self._route, pair), *(keys.ref(self._route, ref) for ref in refs))
                pipeline.execute_command("EVAL", ERASE_PAIR, len(names), *names, pair)
            for there, decided in await execute(pipeline, [shared[0]] * len(some)):
                self._counts["pairs"] += there
                self._counts["outcomes"] += decided
            await self.hold()

    async def _rewrite_small(self) -> None:
        """Also decisions that were joined before may still be there. Where very many wait nothing is written anew: they
        go in moments, and what was beside them with them. Of hand-overs there are but ids."""
        for stream in (keys.outcomes(self._route), keys.escalations(self._route)):
            await ask(self._redis, "EVAL", REWRITE_SMALL, 2, stream, keys.anew(stream), MAX_SMALL, key=stream)

    async def rewrite(self) -> None:
        """Write the pairs anew, where any was erased."""
        erased = keys.erased(self._route)
        if not await ask(self._redis, "HEXISTS", erased, ":rewrite", key=erased):
            return
        pairs = keys.pairs(self._route)
        names = (keys.erasing(self._route), erased, pairs, keys.anew(pairs))
        done, last = 0, b""
        while not done:
            values = (self._token, last, _COPIED, _HELD)
            done, last = await ask(self._redis, "EVAL", REWRITE, len(names), *names, *values)
        if done < 0:
            raise CommandError(f"the pairs of {self._route} could not be written anew in time; ask for it again")

    # Streams

    async def _entries(self, stream: str, count: int, after: str = "") -> AsyncIterator[tuple[str, dict[bytes, bytes]]]:
        """All that there are now, oldest first. Between two reads the loop has its turn, and others keep off."""
        newest = await ask(self._redis, "XREVRANGE", stream, "+", "-", "COUNT", 1, key=stream)
        last = newest[0][0].decode() if newest else ""
        while last and after != last:
            first = f"({after}" if after else "-"
            found = await ask(self._redis, "XRANGE", stream, first, last, "COUNT", count, key=stream)
            for place, fields in found:
                after = place.decode()
                yield after, fields
            if len(found) < count:
                return
            await self.hold()

    async def _escalations(self) -> AsyncIterator[Entry]:
        async for place, fields in self._entries(keys.escalations(self._route), _ENTRIES):
            yield read_entry(self._route, place.encode(), fields)

    async def _delete(self, stream: str, places: Sequence[str]) -> int:
        return sum([await ask(self._redis, "XDEL", stream, *some, key=stream) for some in _slices(places)])


def _slices(found: Iterable[Any], size: int = _ENTRIES) -> list[list[Any]]:
    every = list(found)
    return [every[start : start + size] for start in range(0, len(every), size)]
