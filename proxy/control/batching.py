"""From a worker's tick to what the store keeps of it: one batch for each route.

Counts of the family OUTCOMES and the verdicts of the records become evidence, records become pairs. What cannot be read
is counted, logged and left out; nothing that a tick holds raises here.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson
import structlog

from proxy.config.rollout_schema import Rollout
from proxy.model.measures import OUTCOMES, RESULTS
from proxy.model.records import split, unpack
from proxy.model.rollouts import Batch
from proxy.model.tick import Tick
from proxy.model.words import Arm
from proxy.outcomes.pairing import Rules, make_pair, rules
from proxy.storage.scripts import VERDICTS
from proxy.storage.totals import FIELDS, from_row

_log = structlog.get_logger()

NO_ROUTE: Final = "no_route"
"""The route, or its rollout, is no longer configured."""
MALFORMED: Final = "malformed"

SLICE_SECONDS: Final = 0.005
"""After so long at a time the loop gets its turn."""

_COLUMN: Final = {name: column for column, name in enumerate(FIELDS)}
_FIRST_RESULT: Final = {Arm.LEGACY: _COLUMN["legacy_requests"], Arm.AGENT: _COLUMN["agent_requests"]}
_FIRST_VERDICT: Final = _COLUMN[VERDICTS[0]]

StageKey = tuple[str, int, str]
Dropped = Callable[[str, str, int], None]
"""Told (route, reason, how many records)."""


class RouteRules(NamedTuple):
    """How one route's records become pairs, and how many the store keeps of them."""

    rules: Rules
    max_pairs: int


def route_rules(rollout: Rollout) -> RouteRules:
    """Raises ValueError where the rollout has a path that is no JSONPath."""
    return RouteRules(rules(rollout), rollout.record.max_pairs)


class _Draft:
    """A batch in the making."""

    __slots__ = ("evidence", "pairs")

    def __init__(self) -> None:
        self.evidence: dict[StageKey, list[int]] = {}
        self.pairs: list[tuple[str | None, bytes]] = []

    def counts(self, key: StageKey) -> list[int]:
        found = self.evidence.get(key)
        if found is None:
            found = self.evidence[key] = [0] * len(FIELDS)
        return found


async def make_batches(tick: Tick, by_route: Mapping[str, RouteRules], dropped: Dropped) -> list[Batch]:
    """One batch for each route that the tick says something of, in no particular order."""
    drafts: dict[str, _Draft] = {}
    _book_outcomes(tick, by_route, drafts)
    loop = asyncio.get_running_loop()
    turn = loop.time()
    try:
        for fields in split(tick.records):
            _book_record(fields, by_route, drafts, dropped)
            if loop.time() - turn > SLICE_SECONDS:
                await asyncio.sleep(0)
                turn = loop.time()
    except ValueError as error:
        dropped("", MALFORMED, 1)
        _log.error("records_unreadable", source=tick.source, problem=str(error))
    return [
        Batch(
            route,
            tick.source,
            tick.seq,
            {key: from_row(tuple(counts)) for key, counts in draft.evidence.items()},
            tuple(draft.pairs),
            by_route[route].max_pairs,
        )
        for route, draft in drafts.items()
    ]


def _book_outcomes(tick: Tick, by_route: Mapping[str, RouteRules], drafts: dict[str, _Draft]) -> None:
    for labels, count in tick.counters.get(OUTCOMES.name, {}).items():
        try:
            route, version, stage, epoch, arm, result = labels
            key, first, kind = (version, int(epoch), stage), _FIRST_RESULT[Arm(arm)], RESULTS.index(result)
        except ValueError as error:
            _log.error("outcomes_malformed", source=tick.source, labels=labels, problem=str(error))
            continue
        if route not in by_route:
            continue
        counts = drafts.setdefault(route, _Draft()).counts(key)
        # ok, failed, slow: `ok` and `failed` are the requests, and failed and slow are counted beside them.
        if RESULTS[kind] != "slow":
            counts[first] += count
        if RESULTS[kind] != "ok":
            counts[first + kind] += count


def _book_record(fields: Any, by_route: Mapping[str, RouteRules], drafts: dict[str, _Draft], dropped: Dropped) -> None:
    route = ""
    try:
        record = unpack(fields)
        route = record.route
        known = by_route.get(route)
        if known is None:
            dropped(route, NO_ROUTE, 1)
            return
        pair = make_pair(record, known.rules)
        document = orjson.dumps(pair.document)
    except Exception as error:  # noqa: BLE001  # a record that cannot be read must not cost the others
        dropped(route, MALFORMED, 1)
        # Only the type is told: a message might quote what the record holds.
        _log.error("record_malformed", route=route, problem=type(error).__name__)
        return
    draft = drafts.setdefault(route, _Draft())
    draft.pairs.append((pair.verdict, document))
    if pair.verdict is not None:
        draft.counts((record.version, record.epoch, record.stage))[_FIRST_VERDICT + VERDICTS.index(pair.verdict)] += 1
