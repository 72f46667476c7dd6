"""Late decisions in the store: the inbox where they wait, and what they make of the pairs that they belong to.

The way of a decision: `put` keeps it in the inbox (`outcomes`), and so does WRITE_BATCH with one that was read in
passing; from then on it is not lost. The replica that leads reads the inbox, finds the pairs by the decision's ref, and
settles them: one script writes what became of each pair, moves its evidence and takes the decision out of the inbox,
or does none of it. One whose pair is not there yet goes to `early:<ref>`, from where WRITE_BATCH hands it back to the
inbox when the pair comes.

A case may have several pairs: a request that was sent again. What is decided of one is decided of all, also of one that
comes when the others are closed; then WRITE_BATCH puts the ref itself (`again`) into the inbox.

The rule: each entry of the inbox takes effect once, whoever reads it and however often. A settling names what it found
(the digest of `closed:<pair>`), and is refused where that has changed or the entry is gone.

`closed:<pair>` is what decisions made of a pair that was open, as JSON, sealed like the pair itself (about its route):

    {verdict,          `matched`, `mismatched`, `incomparable`, `expired`; null where the agent was not asked
     verdict_reason,   a sentence, or empty
     legacy_decision,  the human's decision that counts, as it may be shown; null where none came in time
     differences,      [{path, legacy, agent}], as a pair's
     revisions,        [{decision, decided_at, by, via, received_at}], all that came, in the order in which they were
                       decided; the last one counts, unless the pair is expired. Times are RFC 3339 in UTC
     expired,          whether no decision came in time
     counted}          by what its evidence is found again: for the next revision alone, and shown to nobody

Whoever reads a pair puts it over the document with `proxy.outcomes.closing.merged`. A pair that is open has none, and
`verdict` `pending` in its document. Entries of the verdicts' indices stay where a revision made another verdict of a
pair, so that each reader must look at the verdict of what it finds.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from proxy.model.errors import StoreError
from proxy.model.rollouts import Evidence
from proxy.storage import keys, totals
from proxy.storage.connection import Client, ask, execute, translate, translated
from proxy.storage.late_scripts import GIVE_UP, PUT, SET_ASIDE, SETTLE
from proxy.storage.pairs import MAX_STAGES, TOTALS_SECONDS

EARLY_SECONDS: Final = 86_400
"""How long a decision waits for its pair."""
MAX_EARLY: Final = 20
"""Decisions that wait for one pair, and"""
MAX_EARLY_REFS: Final = 100_000
"""pairs for which decisions wait, of one route."""

_LEFT: Final = 3_600
"""Seconds beyond its deadline for which what came early is there to be counted."""


class Counts(NamedTuple):
    """Of one route: decisions in the inbox, open pairs, pairs for which decisions came early."""

    inbox: int
    open: int
    early: int


class Entry(NamedTuple):
    """Of the inbox: a decision, sealed; or, where that is empty, a ref whose pairs are to share what was decided."""

    id: str
    sealed: bytes
    again: str


class Found(NamedTuple):
    """A pair as it is kept: its document and what decisions made of it, both sealed. None where there is none."""

    document: bytes | None
    closed: bytes | None


class Change(NamedTuple):
    """What a pair is to become. `found` is what it was taken to be; `becomes` is None where it stays so. `goes` is when
    that may be forgotten (Unix seconds), `stage` is (version, epoch, stage). `verdict` is set where it has become
    another one. `before` is the evidence to take away, `after` to add."""

    pair: str
    found: bytes | None
    becomes: bytes | None
    goes: float
    stage: tuple[str, int, str]
    verdict: str | None = None
    before: Evidence = Evidence()
    after: Evidence = Evidence()


class Settling(NamedTuple):
    """An entry of the inbox, or None, and what it makes of pairs."""

    entry: str | None
    changes: tuple[Change, ...]


class Reply(NamedTuple):
    """`done`: this took effect now. `again`: a pair was no longer as it was found. Neither: the entry was settled
    before. `there` says of each change whether its pair is still kept."""

    done: bool
    again: bool
    there: tuple[bool, ...]


class LateStore:
    """All of it raises StoreUnavailableError and StoreFormatError."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis

    # Decisions in

    async def put(self, outcomes: dict[str, list[bytes]]) -> dict[str, int | StoreError]:
        """Keep decisions, by route. Of each route how many, from the first on, are in its inbox now, or why none may
        be."""
        pipeline: Any = self._redis.pipeline(transaction=False)
        for route, sealed in outcomes.items():
            names = (keys.layout(route), keys.outcomes(route))
            pipeline.execute_command("EVAL", PUT, len(names), *names, keys.LAYOUT, *sealed)
        with translated():
            replies = await pipeline.execute(raise_on_error=False)
        return {
            route: translate(reply) if isinstance(reply, Exception) else int(reply)
            for route, reply in zip(outcomes, replies, strict=True)
        }

    # The inbox

    async def counts(self, routes: Sequence[str]) -> dict[str, Counts | StoreError]:
        """By route; what is wrong with one of them is that one's trouble alone."""
        pipeline: Any = self._redis.pipeline(transaction=False)
        for route in routes:
            pipeline.xlen(keys.outcomes(route))
            pipeline.zcard(keys.pending(route))
            pipeline.zcard(keys.given_up(route))
        with translated():
            replies = await pipeline.execute(raise_on_error=False)
        return {route: _counts(route, replies[3 * n : 3 * n + 3]) for n, route in enumerate(routes)}

    async def inbox(self, route: str, after: str, count: int) -> list[Entry]:
        """The oldest that wait, behind the entry `after` (empty: from the first on)."""
        key = keys.outcomes(route)
        found = await ask(self._redis, "XRANGE", key, f"({after}" if after else "-", "+", "COUNT", count, key=key)
        return [
            Entry(entry.decode(), fields.get(b"outcome", b""), fields.get(b"again", b"").decode("ascii", "replace"))
            for entry, fields in found
        ]

    async def find(self, route: str, refs: Sequence[str]) -> list[list[str]]:
        """The pairs that each ref means, oldest first."""
        pipeline: Any = self._redis.pipeline(transaction=False)
        names = [keys.ref(route, ref) for ref in refs]
        for name in names:
            pipeline.smembers(name)
        return [sorted((pair.decode() for pair in found), key=_age) for found in await execute(pipeline, names)]

    async def read(self, route: str, pairs: Sequence[str]) -> list[Found]:
        pipeline: Any = self._redis.pipeline(transaction=False)
        names: list[str] = []
        for pair in pairs:
            pipeline.xrange(keys.pairs(route), min=pair, max=pair)
            pipeline.get(keys.closed(route, pair))
            names += (keys.pairs(route), keys.closed(route, pair))
        replies = await execute(pipeline, names)
        return [
            Found(entries[0][1].get(b"pair") if entries else None, closed)
            for entries, closed in zip(replies[::2], replies[1::2], strict=True)
        ]

    async def settle(self, route: str, settlings: Sequence[Settling], max_pairs: int) -> list[Reply]:
        """In their order: one may take for granted what the one before it makes of a pair."""
        pipeline: Any = self._redis.pipeline(transaction=False)
        for settling in settlings:
            pipeline.execute_command("EVAL", SETTLE, *_arguments(route, settling, max_pairs))
        replies = await execute(pipeline, [keys.outcomes(route)] * len(settlings))
        return [Reply(reply[0] == 1, reply[0] == -1, tuple(map(bool, reply[2:]))) for reply in replies]

    # Before the pair, and after it

    async def set_aside(self, route: str, early: Sequence[tuple[str, str, bytes]], now: float) -> list[int]:
        """Let decisions (entry, ref, sealed) wait for their pairs. Of each: 1 where it does, 2 where there is no room,
        0 where it was settled before, -1 where the pair has come."""
        pipeline: Any = self._redis.pipeline(transaction=False)
        for entry, ref, sealed in early:
            names = (keys.outcomes(route), keys.ref(route, ref), keys.early(route, ref), keys.given_up(route))
            deadline, bounds = now + EARLY_SECONDS, (EARLY_SECONDS + _LEFT, MAX_EARLY, MAX_EARLY_REFS)
            pipeline.execute_command("EVAL", SET_ASIDE, len(names), *names, entry, sealed, ref, deadline, *bounds)
        return [int(reply) for reply in await execute(pipeline, [keys.outcomes(route)] * len(early))]

    async def give_up(self, route: str, now: float, count: int) -> int:
        """Forget decisions whose pairs never came, of at most `count` pairs. How many these were."""
        key = keys.given_up(route)
        refs = [ref.decode() for ref in await _due(self._redis, key, now, count)]
        pipeline: Any = self._redis.pipeline(transaction=False)
        for ref in refs:
            pipeline.execute_command("EVAL", GIVE_UP, 2, key, keys.early(route, ref), ref, now)
        return sum(await execute(pipeline, [key] * len(refs))) if refs else 0

    async def due(self, route: str, now: float, count: int) -> list[str]:
        """Open pairs whose time is over."""
        return [pair.decode() for pair in await _due(self._redis, keys.pending(route), now, count)]


async def _due(redis: Client, key: str, now: float, count: int) -> list[bytes]:
    found: list[bytes] = await ask(redis, "ZRANGEBYSCORE", key, "-inf", str(now), "LIMIT", 0, count, key=key)
    return found


def _counts(route: str, replies: list[Any]) -> Counts | StoreError:
    names = (keys.outcomes(route), keys.pending(route), keys.given_up(route))
    for name, reply in zip(names, replies, strict=True):
        if isinstance(reply, Exception):
            return translate(reply, name)
    return Counts(*replies)


def _arguments(route: str, settling: Settling, max_pairs: int) -> list[str | bytes | int]:
    names = [keys.outcomes(route), keys.pairs(route), keys.pending(route), keys.stages(route)]
    values: list[str | bytes | int] = [settling.entry or "", TOTALS_SECONDS, MAX_STAGES, max_pairs]
    values.append(len(settling.changes))
    for change in settling.changes:
        version, epoch, stage = change.stage
        names += (
            keys.closed(route, change.pair), keys.totals(route, version, epoch, stage),
            keys.verdict(route, change.verdict or "none"),
        )  # fmt: skip
        values += (change.pair, _digest(change.found), change.becomes or b"", int(change.goes))
        values += (int(change.verdict is not None), keys.stage_name(version, epoch, stage), epoch)
        values += totals.counts(change.before)
        values += totals.counts(change.after)
    return [len(names), *names, *values]


def _digest(found: bytes | None) -> str:
    """As the server makes it: it tells apart what we wrote ourselves, and guards nothing."""
    return "" if found is None else hashlib.sha1(found, usedforsecurity=False).hexdigest()


def _age(pair: str) -> tuple[int, int]:
    at, _, number = pair.partition("-")
    return int(at), int(number)
