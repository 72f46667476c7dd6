"""From a worker's tick to what the store keeps of it: one batch for each route.

Counts of the family OUTCOMES, summed over their slots, and what the records' pairs say become evidence; records become
pairs, and users go as they are. What cannot be read is counted, logged and left out; nothing that a tick holds raises
here.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson
import structlog

from proxy.config.record_schema import Record as RecordRules
from proxy.config.rollout_schema import Rollout
from proxy.model.measures import OUTCOMES, Result
from proxy.model.records import Record, is_callback, split, unpack, unpack_callback
from proxy.model.rollouts import Batch, Kept
from proxy.model.snapshot import BUCKETS
from proxy.model.tick import Tick, unpack_buckets
from proxy.model.words import Arm, Match
from proxy.outcomes import escalation
from proxy.outcomes.late import encode
from proxy.outcomes.pairing import Pair, Rules, make_pair, rules
from proxy.outcomes.pending import UnreadableError, read_callback
from proxy.storage.sealing import Sealer
from proxy.storage.tally import Tally

_log = structlog.get_logger()

NO_ROUTE: Final = "no_route"
"""The route, or its rollout, is no longer configured."""
MALFORMED: Final = "malformed"

SLICE_SECONDS: Final = 0.005
"""After so long at a time the loop gets its turn."""

_FIELDS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    (Arm.LEGACY, Result.OK): ("legacy_requests",),
    (Arm.LEGACY, Result.FAILED): ("legacy_requests", "legacy_failed"),
    (Arm.LEGACY, Result.SLOW): ("legacy_slow",),
    (Arm.LEGACY, Result.DRAWN): ("drawn",),
    (Arm.LEGACY, Result.NO_KEY): ("no_key",),
    (Arm.LEGACY, Result.FALLBACK): ("fallbacks",),
    (Arm.AGENT, Result.OK): ("agent_requests",),
    (Arm.AGENT, Result.FAILED): ("agent_requests", "agent_failed"),
    (Arm.AGENT, Result.SLOW): ("agent_slow",),
    (Arm.AGENT, Result.DRAWN): ("drawn", "served"),
    (Arm.AGENT, Result.ESCALATED): ("escalated",),
    **{(arm, result): () for arm in Arm for result in (Result.ARRIVED, Result.WITHDRAWN)},  # the guard's alone
}
"""The fields of a tally in which each arm's results are counted. Those that ended are the requests; what is still open
may come with a later tick."""

_COMPARED: Final = (Match.MATCHED, Match.MISMATCHED, Match.INCOMPARABLE)

StageKey = tuple[str, int, str]
"""(version, epoch, stage)"""
WeightKey = tuple[str, int, str, int]
"""(version, epoch, stage, weight)"""
Dropped = Callable[[str, str, int], None]
"""Told (route, reason, how many records)."""
Late = Callable[[str, str], None]
"""Told (route, result) of each late decision that cannot be read."""


class RouteRules(NamedTuple):
    """How one route's records become pairs, and how many the store keeps of them."""

    rules: Rules
    record: RecordRules


def route_rules(rollout: Rollout) -> RouteRules:
    """Raises ValueError where the rollout has a path that is no JSONPath."""
    return RouteRules(rules(rollout), rollout.record)


class _Draft:
    """A batch in the making."""

    __slots__ = ("handed", "outcomes", "pairs", "tallies", "users")

    def __init__(self) -> None:
        self.tallies: dict[StageKey, Tally] = {}
        self.users: dict[WeightKey, tuple[frozenset[int], frozenset[int]]] = {}
        self.pairs: list[Kept] = []
        self.outcomes: list[bytes] = []
        self.handed: list[Kept] = []

    def tally(self, key: StageKey) -> Tally:
        found = self.tallies.get(key)
        if found is None:
            found = self.tallies[key] = Tally()
        return found

    def batch(self, tick: Tick, route: str, record: RecordRules) -> Batch:
        evidence = {key: tally.evidence() for key, tally in self.tallies.items()}
        return Batch(
            route,
            tick.source,
            tick.seq,
            evidence,
            self.users,
            tuple(self.pairs),
            tuple(self.outcomes),
            tuple(self.handed),
            record.max_pairs,
            record.max_bytes,
            record.max_age,
        )


def _tell_nobody(_route: str, _result: str) -> None:
    pass


async def make_batches(
    tick: Tick, by_route: Mapping[str, RouteRules], dropped: Dropped, sealer: Sealer, late: Late = _tell_nobody
) -> list[Batch]:
    """One batch for each route that the tick says something of, in no particular order. Its documents are sealed."""
    drafts: dict[str, _Draft] = {}
    _book_outcomes(tick, by_route, drafts)
    _book_users(tick, by_route, drafts)
    loop = asyncio.get_running_loop()
    turn = loop.time()
    try:
        for fields in split(tick.records):
            if is_callback(fields):
                _book_callback(fields, by_route, drafts, late, sealer)
            else:
                _book_record(fields, by_route, drafts, dropped, sealer)
            if loop.time() - turn > SLICE_SECONDS:
                await asyncio.sleep(0)
                turn = loop.time()
    except ValueError as error:
        dropped("", MALFORMED, 1)
        _log.error("records_unreadable", source=tick.source, problem=str(error))
    return [draft.batch(tick, route, by_route[route].record) for route, draft in drafts.items()]


def _book_outcomes(tick: Tick, by_route: Mapping[str, RouteRules], drafts: dict[str, _Draft]) -> None:
    for labels, count in tick.counters.get(OUTCOMES.name, {}).items():
        try:
            route, version, stage, epoch, arm, result, slot = labels
            key, fields = (version, int(epoch), stage), _FIELDS[arm, result]
            int(slot or 0)
        except (ValueError, KeyError) as error:
            _log.error("outcomes_malformed", source=tick.source, labels=labels, problem=repr(error))
            continue
        if fields and route in by_route:
            tally = drafts.setdefault(route, _Draft()).tally(key)
            for field in fields:
                tally.count(field, count)


def _book_users(tick: Tick, by_route: Mapping[str, RouteRules], drafts: dict[str, _Draft]) -> None:
    for labels, data in tick.users.items():
        try:
            route, version, stage, epoch, weight, word = labels
            key, arm, buckets = (version, int(epoch), stage, int(weight)), Arm(word), unpack_buckets(data)
            if not 0 <= key[-1] <= BUCKETS:
                raise ValueError(f"no weight is {weight}")  # noqa: TRY301  # one way out for all that is malformed
        except ValueError as error:
            _log.error("users_malformed", source=tick.source, labels=labels, problem=str(error))
            continue
        if route in by_route and buckets:
            users = drafts.setdefault(route, _Draft()).users
            legacy, agent = users.get(key, (frozenset(), frozenset()))
            users[key] = (legacy | buckets, agent) if arm is Arm.LEGACY else (legacy, agent | buckets)


def _book_record(
    fields: Any, by_route: Mapping[str, RouteRules], drafts: dict[str, _Draft], dropped: Dropped, sealer: Sealer
) -> None:
    route = ""
    try:
        record = unpack(fields)
        route = record.route
        known = by_route.get(route)
        if known is None:
            dropped(route, NO_ROUTE, 1)
            return
        pair = make_pair(record, known.rules)
        document = sealer.seal(orjson.dumps(pair.document), route)
    except Exception as error:  # noqa: BLE001  # a record that cannot be read must not cost the others
        dropped(route, MALFORMED, 1)
        # Only the type is told: a message might quote what the record holds.
        _log.error("record_malformed", route=route, problem=type(error).__name__)
        return
    draft = drafts.setdefault(route, _Draft())
    if record.escalation is not None and record.legacy is None:  # legacy is at it; the pair comes when it has answered
        draft.handed.append(_kept(pair, document, record))
        return
    draft.pairs.append(_kept(pair, document, record))
    if pair.verdict is not None:
        book_pair(pair, draft.tally((record.version, record.epoch, record.stage)))


def _book_callback(
    fields: Any, by_route: Mapping[str, RouteRules], drafts: dict[str, _Draft], late: Late, sealer: Sealer
) -> None:
    route = ""
    try:
        callback = unpack_callback(fields)
        route = callback.route
        known = by_route.get(route)
        if known is None or known.rules.waiting is None:
            late(route, NO_ROUTE)
            return
        outcome = read_callback(callback, known.rules.waiting)
    except Exception as error:  # noqa: BLE001  # as with records
        late(route, MALFORMED)
        # What we refuse says why and quotes nothing; anything else might.
        problem = str(error) if isinstance(error, UnreadableError) else type(error).__name__
        _log.warning("callback_malformed", route=route, problem=problem)
        return
    drafts.setdefault(route, _Draft()).outcomes.append(sealer.seal(encode(outcome), route))


def _kept(pair: Pair, document: bytes, record: Record) -> Kept:
    kept = Kept(pair.verdict, document, record.at, record.key_hash, pair.refs, pair.until)
    if record.escalation is None:
        return kept
    return kept._replace(escalation=record.escalation[0], reason=escalation.reason(record))


def book_pair(pair: Pair, tally: Tally) -> None:
    """Count what was compared; an open pair is counted when it is closed, what its agent said twice already now."""
    if pair.repeat is Match.MATCHED or pair.repeat is Match.MISMATCHED:
        tally.count("repeats")
        tally.count("repeats_alike", int(pair.repeat is Match.MATCHED))
    for field in pair.fields:
        tally.field(*field)
    verdict = pair.verdict
    if verdict not in _COMPARED:
        return
    tally.count(verdict)
    if pair.direction is not None:
        tally.count(pair.direction)
    if pair.decisions is not None:
        tally.decision(pair.decisions)
    if pair.segment is not None:
        tally.segment(pair.segment, int(verdict is Match.MATCHED), int(verdict is Match.MISMATCHED))
