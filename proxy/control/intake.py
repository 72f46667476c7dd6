"""Late decisions as they are told, on their way to the inbox: each is accepted once it is durable there, or refused by
itself with a sentence that repeats nothing of it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from proxy.control.batching import RouteRules
from proxy.model.clock import Clock
from proxy.model.errors import StoreError, StoreUnavailableError
from proxy.model.records import Decided
from proxy.outcomes.late import LateOutcome, encode, ref
from proxy.outcomes.pending import MAX_DECISION, whole
from proxy.storage.late import LateStore
from proxy.storage.sealing import Sealer
from proxy.telemetry.clock import rfc3339

_log = structlog.get_logger()

AHEAD: Final = 300.0
"""Seconds by which whoever decided may be ahead of our clock. What is further off would count against every later
decision."""

FULL: Final = "too many decisions wait to be joined; send it again later"
AWAY: Final = "the store does not answer; send it again, which does no harm if it was kept"


class Intake:
    """`proxy.model.ports.DecisionTaker`."""

    def __init__(self, store: LateStore, sealer: Sealer, clock: Clock) -> None:
        self._store, self._sealer, self._clock = store, sealer, clock
        self._rules: Mapping[str, RouteRules] = {}

    def set_rules(self, rules: Mapping[str, RouteRules]) -> None:
        """From now on decisions are of these routes."""
        self._rules = rules

    async def take(self, decisions: Sequence[Decided]) -> list[str]:
        now = self._clock.now()
        refused = [self._refusal(decided, now) for decided in decisions]
        sealed: dict[str, list[bytes]] = {}
        places: dict[str, list[int]] = {}
        for place, (decided, why) in enumerate(zip(decisions, refused, strict=True)):
            if not why:
                sealed.setdefault(decided.route, []).append(self._sealed(decided, now))
                places.setdefault(decided.route, []).append(place)
        if not sealed:
            return refused
        kept = await self._store.put(sealed)
        _raise_if_away(kept)
        for route, result in kept.items():
            count, why = (result, FULL) if isinstance(result, int) else (0, _explain(route, result))
            for place in places[route][count:]:
                refused[place] = why
        return refused

    def _refusal(self, decided: Decided, now: float) -> str:
        known = self._rules.get(decided.route)
        if known is None:
            return "route: there is no such route with a rollout"
        if known.rules.waiting is None:
            return "route: it waits for no decisions; its rollout has no pending"
        if decided.decided_at is not None and decided.decided_at > now + AHEAD:
            return f"decided_at: lies in the future; it is {rfc3339(now)} here"
        if not whole(decided.decision):
            return f"decision: takes more than {MAX_DECISION} bytes, or is nested too deep"
        return ""

    def _sealed(self, decided: Decided, now: float) -> bytes:
        waiting = self._rules[decided.route].rules.waiting
        assert waiting is not None  # others are refused
        found = ref(waiting.salt, decided.kind, decided.name)
        at = now if decided.decided_at is None else decided.decided_at
        outcome = LateOutcome(found, decided.decision, at, now, decided.by, "api")
        return self._sealer.seal(encode(outcome), decided.route)


def _raise_if_away(kept: Mapping[str, int | StoreError]) -> None:
    """Where nothing at all could be kept there is nothing to tell apart."""
    errors = [result for result in kept.values() if isinstance(result, StoreUnavailableError)]
    if len(errors) == len(kept):
        raise errors[0]


def _explain(route: str, error: StoreError) -> str:
    if isinstance(error, StoreUnavailableError):
        return AWAY
    _log.error("decisions_refused", route=route, problem=str(error))
    return "the store holds what is not Crossfade's where this belongs; an operator finds more in the log"
