"""Humans' late decisions, joined to the pairs that they belong to.

Each round the replica that leads reads what waits in the routes' inboxes and settles it, closes the pairs to which no
decision came in time, and gives up decisions whose pairs never came. All that it knows is in the store, and each step
there is done whole or not at all: it may die between any two of them, and for a moment there may be two of it.

What does not open (its key is not here yet, or no longer) stays where it is, and keeps nothing else from being joined.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
import structlog

from proxy.control.batching import MALFORMED, RouteRules, book_pair
from proxy.control.rounds import rounds
from proxy.model.clock import Clock
from proxy.model.errors import SealError, StoreError, StoreUnavailableError
from proxy.outcomes import closing
from proxy.outcomes.closing import Settled
from proxy.outcomes.late import LateOutcome, decode
from proxy.outcomes.pairing import Pair
from proxy.storage.late import Change, Counts, Entry, Found, LateStore, Settling
from proxy.storage.sealing import Sealer
from proxy.storage.tally import Tally
from proxy.telemetry.families import LATE, OUTCOMES_WAITING, PENDING
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger()

JOIN: Final = 0.5
"""Seconds between two rounds."""
MAX_JOINED: Final = 500
"""Decisions of one route that a round joins, and as many pairs may expire."""

EARLY: Final = "early"
UNMATCHED: Final = "unmatched"
GONE: Final = "gone"
"""What becomes of a decision, beside what `closing` says: it waits for its pair; that never came; that is no longer
kept."""

_CHUNK: Final = 50
"""Pairs read at once: each may be as long as three bodies."""
_DAY: Final = 86_400


class _Waiting(NamedTuple):
    """What waits in the inbox. `outcome` is None where pairs are to share what was decided of one of them."""

    entry: Entry
    ref: str
    outcome: LateOutcome | None


class _Pair:
    """A pair as the store holds it, and will once what was sent takes effect."""

    __slots__ = ("closed", "document", "state")

    def __init__(self, document: dict[str, Any], closed: bytes | None, state: dict[str, Any] | None) -> None:
        self.document, self.closed, self.state = document, closed, state


class Joiner:
    """`leads` tells whether this replica is the one that joins."""

    def __init__(
        self, store: LateStore, sealer: Sealer, metrics: Metrics, clock: Clock, leads: Callable[[], bool]
    ) -> None:
        self._store, self._sealer, self._metrics, self._clock, self._leads = store, sealer, metrics, clock, leads
        self._rules: Mapping[str, RouteRules] = {}
        self._after: dict[str, str] = {}  # by route, the last entry of an inbox that was looked at
        self._problems: dict[str, str] = {}

    def set_rules(self, rules: Mapping[str, RouteRules]) -> None:
        """From now on decisions are judged by these. What waits of other routes waits until they are back."""
        self._rules = rules

    async def run(self) -> None:
        """Until it is cancelled."""
        await rounds(JOIN, self.round, "joining_failed")

    async def round(self) -> None:
        """Raises StoreUnavailableError; what is not done then is done in a later round."""
        routes = [*self._rules]
        if not routes or not self._leads():
            self._forget()
            return
        for route, counts in (await self._store.counts(routes)).items():
            if isinstance(counts, Counts):
                await self._visit(route, counts)
            else:
                self._say(route, counts)

    async def _visit(self, route: str, counts: Counts) -> None:
        """What is wrong with one route must not hold up the others."""
        self._metrics.set(PENDING, route, value=counts.open)
        self._metrics.set(OUTCOMES_WAITING, route, value=counts.inbox)
        try:
            if counts.inbox:
                await self._join(route)
            if counts.open:
                await self._expire(route)
            if counts.early:
                self._count(route, UNMATCHED, await self._store.give_up(route, self._clock.now(), MAX_JOINED))
        except StoreUnavailableError:
            raise
        except StoreError as error:
            self._say(route, error)
        else:
            self._say(route, None)

    # Decisions

    async def _join(self, route: str) -> None:
        after = self._after.get(route, "")
        waiting = await self._store.inbox(route, after, MAX_JOINED)
        # Behind what stays for now there may be others, so the next round goes on there.
        self._after[route] = waiting[-1][0] if len(waiting) == MAX_JOINED else ""
        opened = [each for entry in waiting if (each := await self._opened(route, entry)) is not None]
        for start in range(0, len(opened), _CHUNK):
            chunk = opened[start : start + _CHUNK]
            found = await self._store.find(route, [each.ref for each in chunk])
            early, joined = [], []
            for each, pairs in zip(chunk, found, strict=True):
                if pairs or each.outcome is None:
                    joined.append((each, pairs))
                else:
                    early.append(each)
            await self._set_aside(route, early)
            await self._settle(route, joined)

    async def _opened(self, route: str, entry: Entry) -> _Waiting | None:
        if entry.again:
            return _Waiting(entry, entry.again, None)
        try:
            outcome = decode(self._sealer.open(entry.sealed, route))
        except SealError as error:
            self._say(f"{route} inbox", error)
        except (ValueError, TypeError):
            (reply,) = await self._store.settle(route, [Settling(entry.id, ())], self._rules[route].record.max_pairs)
            self._count(route, MALFORMED, reply.done)
        else:
            return _Waiting(entry, outcome.ref, outcome)
        return None

    async def _set_aside(self, route: str, early: Sequence[_Waiting]) -> None:
        if not early:
            return
        waiting = [(each.entry.id, each.ref, each.entry.sealed) for each in early]
        for reply in await self._store.set_aside(route, waiting, self._clock.now()):
            self._count(route, EARLY, reply == 1)
            self._count(route, closing.OVER_LIMIT, reply == 2)

    async def _settle(self, route: str, joined: Sequence[tuple[_Waiting, list[str]]]) -> None:
        known = await self._read(route, list(dict.fromkeys(pair for _, pairs in joined for pair in pairs)))
        settlings: list[Settling] = []
        results: list[list[Settled]] = []
        for each, pairs in joined:
            if not all(pair in known for pair in pairs):
                continue  # one of them does not open now
            if each.outcome is None:
                settled = self._shared(route, [known[pair] for pair in pairs])
            else:
                settled = [self._settled(route, known[pair], each.outcome) for pair in pairs]
            changes = [self._change(route, *change, known) for change in zip(pairs, settled, strict=True)]
            settlings.append(Settling(each.entry.id, tuple(changes)))
            results.append(settled if each.outcome is not None else [_quietly(told) for told in settled])
        await self._send(route, settlings, results)

    def _shared(self, route: str, pairs: Sequence[_Pair | None]) -> list[Settled]:
        """What pairs of one case become, each with what was decided of any of them."""
        revisions = [each for pair in pairs if pair is not None and pair.state for each in pair.state["revisions"]]
        rules = self._rules[route].rules
        return [
            closing.share(pair.document, pair.state, revisions, rules) if pair is not None else Settled(GONE)
            for pair in pairs
        ]

    def _settled(self, route: str, pair: _Pair | None, outcome: LateOutcome) -> Settled:
        if pair is None:
            return Settled(GONE)
        try:
            return closing.settle(pair.document, pair.state, outcome, self._rules[route].rules)
        except ValueError:
            return Settled(GONE)  # it never was open

    # Pairs whose time is over

    async def _expire(self, route: str) -> None:
        due = await self._store.due(route, self._clock.now(), MAX_JOINED)
        for start in range(0, len(due), _CHUNK):
            chunk = due[start : start + _CHUNK]
            known = await self._read(route, chunk, even_unreadable=True)
            settlings: list[Settling] = []
            results: list[list[Settled]] = []
            for pair in chunk:
                found = known[pair]
                settled = Settled(GONE) if found is None else closing.expire(found.document, found.state)
                settlings.append(Settling(None, (self._change(route, pair, settled, known),)))
                results.append([settled])
            await self._send(route, settlings, results, told=False)

    # Both

    async def _read(
        self, route: str, pairs: Sequence[str], *, even_unreadable: bool = False
    ) -> dict[str, _Pair | None]:
        """None for one that is gone. One that does not open is left out, or stands for what all that wait have."""
        known: dict[str, _Pair | None] = {}
        for start in range(0, len(pairs), _CHUNK):
            chunk = pairs[start : start + _CHUNK]
            for pair, found in zip(chunk, await self._store.read(route, chunk), strict=True):
                try:
                    known[pair] = self._pair(route, found)
                except SealError as error:
                    self._say(f"{route} pairs", error)
                    if even_unreadable:
                        known[pair] = _Pair({"verdict": "pending"}, found.closed, None)
        return known

    def _pair(self, route: str, found: Found) -> _Pair | None:
        if found.document is None:
            return None
        document = orjson.loads(self._sealer.open(found.document, route))
        state = orjson.loads(self._sealer.open(found.closed, route)) if found.closed is not None else None
        return _Pair(document, found.closed, state)

    def _change(self, route: str, pair: str, settled: Settled, known: dict[str, _Pair | None]) -> Change:
        """And note what the pair is from then on."""
        found = known[pair]
        if found is None:
            return Change(pair, None, None, 0.0, ("", 0, ""))
        was, becomes = found.closed, None
        document = found.document
        stage = (document.get("version", ""), document.get("epoch", 0), document.get("stage", ""))
        if settled.state is not None:
            becomes = self._sealer.seal(orjson.dumps(settled.state), route)
            found.closed, found.state = becomes, settled.state
        before, after = _evidence(settled.before), _evidence(settled.after)
        return Change(pair, was, becomes, self._goes(route, pair), stage, settled.verdict, before, after)

    def _goes(self, route: str, pair: str) -> float:
        """With the pair, which is trimmed a little late."""
        made = int(pair.partition("-")[0]) / 1000
        return max(made + self._rules[route].record.max_age, self._clock.now()) + _DAY

    async def _send(
        self, route: str, settlings: list[Settling], results: list[list[Settled]], *, told: bool = True
    ) -> None:
        if not settlings:
            return
        replies = await self._store.settle(route, settlings, self._rules[route].record.max_pairs)
        for reply, settled in zip(replies, results, strict=True):
            if not reply.done:
                continue  # it is as if we had not come; what is still to do is done in the next round
            for each, there in zip(settled, reply.there, strict=True):
                if told and each.result:
                    self._count(route, each.result if there else GONE, 1)
                if there and each.verdict is not None and each.result != closing.REVISED:
                    self._metrics.count_pairs(route, each.verdict)

    def _count(self, route: str, result: str, n: int) -> None:
        if n:
            self._metrics.count(LATE, route, result, n=int(n))

    def _forget(self) -> None:
        for route in self._rules:
            self._metrics.set(PENDING, route, value=None)
            self._metrics.set(OUTCOMES_WAITING, route, value=None)
        self._after.clear()

    def _say(self, what: str, error: Exception | None) -> None:
        """Once, until it is another problem."""
        problem = str(error) if error is not None else ""
        if problem and problem != self._problems.get(what, ""):
            _log.error("decisions_not_joined", of=what, problem=problem)
        self._problems[what] = problem


def _quietly(settled: Settled) -> Settled:
    """Nobody decided anew, so that only a pair that was closed is counted."""
    return settled if settled.verdict is not None else settled._replace(result="")


def _evidence(pair: Pair | None) -> Any:
    tally = Tally()
    if pair is not None:
        book_pair(pair, tally)
    return tally.evidence()
