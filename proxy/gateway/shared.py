"""What all connections of one worker share: the table they decide by, counts, identifiers, the breaker's trip."""

import os
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import structlog

from proxy.analysis.blame import PROOF, Slot, attribution
from proxy.analysis.breaker import Breaker
from proxy.gateway.admission import Admission
from proxy.gateway.counters import Counters
from proxy.gateway.evidence import MEMORY, Tally
from proxy.gateway.table import RolloutEntry, Table
from proxy.gateway.tunnel import Tunnel
from proxy.gateway.turn import Turn
from proxy.model.snapshot import Snapshot
from proxy.storage.owed import Owed

_log = structlog.get_logger()

MIN_LEGACY: Final = 3
"""Requests of legacy that must be known for it to be said that it is well, or fails too."""
PATIENCE: Final = 4
"""Slots for which the breaker waits to know what became of legacy's requests."""

_MAX_ID: Final = 128
_ID_BYTES: Final = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.:/+=@")
_HEX: Final = frozenset(b"0123456789abcdef")


class Shared:
    """`inflight` counts the requests under way, `tunnels` are those open, `handed` the exchanges that wait for legacy
    after the agent could not, and of which nothing was told yet. `draining`: no connection is kept after its
    answer. `on_trip` is told, once for each trip of a breaker, the route, its rollout and the reason."""

    def __init__(
        self, snapshot: Snapshot, on_trip: Callable[[str, RolloutEntry, str], None], owed: Owed | None = None
    ) -> None:
        self.counters = Counters(owed)
        self.turn = Turn()
        self.table = Table(snapshot, self.counters, self.turn)
        self.admission = Admission(self.counters)
        self.inflight = 0
        self.tunnels: set[Tunnel] = set()
        self.handed: set[Any] = set()
        self.draining = False
        self._on_trip = on_trip
        self._life = os.urandom(6).hex().encode()
        self._trace = os.urandom(8).hex().encode()
        self._count = 0

    def use(self, snapshot: Snapshot) -> None:
        """Decide by this snapshot from now on; requests under way keep theirs."""
        last, self.table = self.table, Table(snapshot, self.counters, self.turn, self.table)
        last.retire(self.table)

    def new_request_id(self) -> bytes:
        """Unique over workers and restarts: this life's random part and a count."""
        self._count += 1
        return b"%b-%08x" % (self._life, self._count)

    def request_id(self, given: bytes) -> bytes:
        """The client's own where it is usable, else a new one."""
        if given and len(given) <= _MAX_ID and _ID_BYTES.issuperset(given):
            return given
        return self.new_request_id()

    def trace(self, given: bytes) -> bytes:
        """A traceparent (W3C Trace Context, level 1): the client's where it is well-formed, else a new sampled one."""
        if given and _well_formed(given):
            return given
        self._count += 1
        return b"00-%b%016x-%016x-01" % (self._trace, self._count, self._count)

    def agent_did(
        self, route: str, rollout: RolloutEntry, slot: int, *, failed: bool, connect: bool, unasked: bool
    ) -> None:
        """One outcome of the agent as it served, of a request that arrived in `slot`. When the breaker trips, traffic
        swaps to legacy at once. Two looks come before that:

        - is it the agent's fault? Where legacy fails too nothing would be won; the guard sees both arms and decides.
        - was the agent asked at all, or are we still pausing after the last dial? Then the next request asks.
        """
        breaker, drawn = rollout.breaker, rollout.legacy.tally
        reason = breaker.record(failed, connect, slot)
        if reason is None:
            return
        look = (drawn.slot, breaker.unreachable)  # once is enough: it takes longer than a request
        if rollout.looked == look:
            return
        agent = rollout.canary.upstream
        if not agents_fault(breaker, rollout.canary.tally, drawn, rollout.fallback.tally):
            rollout.looked = look
            rollout.accused = "" if unasked else reason
            agent.end_pause()
            return
        if unasked and agent.end_pause():
            return
        self._trip(route, rollout, reason)

    def tell_handed(self) -> None:
        """A tick has passed: humans who are at it still can be told what the agent tried."""
        if not self.handed:
            return
        now = monotonic()
        for exchange in list(self.handed):
            if exchange.hand_over(now):
                self.handed.discard(exchange)

    def look_again(self) -> None:
        """A tick has passed: more is known of legacy, although no further request may have come."""
        for route, rollout in self.table.rollouts():
            breaker = rollout.breaker
            if not rollout.accused or rollout.tripped or not breaker.over:
                continue
            if agents_fault(breaker, rollout.canary.tally, rollout.legacy.tally, rollout.fallback.tally):
                self._trip(route, rollout, rollout.accused)

    def _trip(self, route: str, rollout: RolloutEntry, reason: str) -> None:
        rollout.breaker.tripped = rollout.tripped = True
        for name, current in self.table.rollouts():  # the table may have been replaced since that request began
            if name == route and current.breaker is rollout.breaker:
                current.tripped = True
        _log.warning("breaker_tripped", route=route, version=rollout.spec.version, reason=reason)
        self._on_trip(route, rollout, reason)


def agents_fault(breaker: Breaker, agent: Tally, drawn: Tally, taken: Tally) -> bool:
    """Whether what the breaker has seen is the agent's fault, by what legacy does with the requests that arrived
    meanwhile: those that were `drawn` to it, and those that it has `taken` over from the agent.

    It must be proven, by what is settled. But where the agent lets nobody connect, or where legacy takes its time and
    nothing is settled after PATIENCE slots, it is enough that of what is known of legacy less than half is bad. Where
    legacy has nothing to do there is no other to blame.
    """
    now, end = drawn.slot, drawn.settled
    since = max(breaker.since, now - MEMORY)
    legacy = _sum(drawn.since(since, overdue=end), taken.since(since, overdue=end))
    settled = {number: slot for number, slot in legacy.items() if number < end}
    if not breaker.unreachable and _requests(settled) >= MIN_LEGACY:
        proof = attribution(agent.since(since), settled, since, end - 1, breaker.suspected, breaker.reference)
        return proof >= PROOF
    known, patient = _requests(legacy), now - since < PATIENCE
    if known >= MIN_LEGACY and (breaker.unreachable or not patient):
        return 2 * sum([slot.bad for slot in legacy.values()]) < known
    return not patient or not (known or drawn.open or taken.open)


def _sum(some: dict[int, Slot], others: dict[int, Slot]) -> dict[int, Slot]:
    total = dict(some)
    for number, slot in others.items():
        known = total.get(number, Slot())
        total[number] = Slot(known.good + slot.good, known.bad + slot.bad)
    return total


def _requests(slots: dict[int, Slot]) -> int:
    return sum([slot.good + slot.bad for slot in slots.values()])


def _well_formed(given: bytes) -> bool:
    return (
        len(given) == 55
        and given[:3] == b"00-"
        and given[35:36] == given[52:53] == b"-"
        and _HEX.issuperset(given[3:35] + given[36:52] + given[53:])
        and bool(given[3:35].strip(b"0"))
        and bool(given[36:52].strip(b"0"))
    )
