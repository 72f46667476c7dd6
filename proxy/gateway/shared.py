"""What all connections of one worker share: the table they decide by, counts, identifiers, the breaker's trip."""

import os
from collections.abc import Callable
from typing import Final

import structlog

from proxy.gateway.admission import Admission
from proxy.gateway.counters import Counters
from proxy.gateway.evidence import Ends
from proxy.gateway.table import RolloutEntry, Table
from proxy.gateway.tunnel import Tunnel
from proxy.gateway.turn import Turn
from proxy.model.snapshot import Snapshot

_log = structlog.get_logger()

MIN_LEGACY: Final = 3
"""Requests that legacy must have had meanwhile for it to be said that legacy fails too."""

_MAX_ID: Final = 128
_ID_BYTES: Final = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.:/+=@")
_HEX: Final = frozenset(b"0123456789abcdef")


class Shared:
    """`inflight` counts the requests under way, `tunnels` are those open. `draining`: no connection is kept after its
    answer. `on_trip` is told, once for each trip of a breaker, the route, its rollout and the reason."""

    def __init__(self, snapshot: Snapshot, on_trip: Callable[[str, RolloutEntry, str], None]) -> None:
        self.counters = Counters()
        self.turn = Turn()
        self.table = Table(snapshot, self.counters, self.turn)
        self.admission = Admission(self.counters)
        self.inflight = 0
        self.tunnels: set[Tunnel] = set()
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

    def agent_did(self, route: str, rollout: RolloutEntry, *, failed: bool, connect: bool, unasked: bool) -> None:
        """One outcome of the agent as it served. When the breaker trips, traffic swaps to legacy at once. Two looks
        come before that:

        - does legacy fail about as much? Then nothing would be won, and the agent would be blamed for what both have;
          the guard sees both arms and decides.
        - was the agent asked at all, or are we still pausing after the last dial? Then the next request asks.
        """
        breaker, drawn, taken = rollout.breaker, rollout.legacy.tally, rollout.fallback.tally
        reason = breaker.record(failed, connect)
        if reason is None:
            if failed and breaker.bad == 1:
                drawn.mark()
                taken.mark()
            return
        agent = rollout.canary.upstream
        if legacy_fails_too((drawn.marked, taken.marked), (drawn.ends(), taken.ends()), breaker.share):
            breaker.forgive()
            agent.end_pause()
            return
        if unasked and agent.end_pause():
            return
        breaker.tripped = rollout.tripped = True
        for name, current in self.table.rollouts():  # the table may have been replaced since that request began
            if name == route and current.breaker is rollout.breaker:
                current.tripped = True
        _log.warning("breaker_tripped", route=route, version=rollout.spec.version, reason=reason)
        self._on_trip(route, rollout, reason)


def legacy_fails_too(before: tuple[Ends, Ends], now: tuple[Ends, Ends], agent_share: float) -> bool:
    """Whether, since the agent began to fail, of legacy's requests at least half as many failed as of the agent's.

    `before` and `now` are what legacy had done when the agent began, and has done now: as it was drawn, and as it took
    over from the agent. `agent_share` is the agent's share of bad ones (0 to 1). Requests that pile up unanswered count
    as failed: who waits for what is down fails later than who notices at once. What legacy takes over counts once it
    ends; there more is open simply because more is taken over.
    """
    (drawn, taken), (drawn_now, taken_now) = before, now
    piled_up = max(drawn_now.open - drawn.open, 0)
    failed = drawn_now.failed - drawn.failed + piled_up + taken_now.failed - taken.failed
    requests = failed + drawn_now.ok - drawn.ok + taken_now.ok - taken.ok
    return requests >= MIN_LEGACY and failed >= requests * agent_share / 2


def _well_formed(given: bytes) -> bool:
    return (
        len(given) == 55
        and given[:3] == b"00-"
        and given[35:36] == given[52:53] == b"-"
        and _HEX.issuperset(given[3:35] + given[36:52] + given[53:])
        and bool(given[3:35].strip(b"0"))
        and bool(given[36:52].strip(b"0"))
    )
