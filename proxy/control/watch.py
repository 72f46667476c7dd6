"""The guard of one rollout: made when an epoch begins, given back its memory, fed and asked.

Its memory is in the store, where the lease holder keeps it: a process that starts anew goes on from there. Until that
was asked for, nothing is fed; where the store is away, the guard begins with nothing.
"""

from typing import Final

import structlog

from proxy.config.rollout_schema import Rollout
from proxy.control.guard import Guard
from proxy.model.clock import Clock
from proxy.model.errors import StoreError
from proxy.model.ports import RolloutStore
from proxy.model.rollouts import Arrived, GateResult, RolloutState

_log = structlog.get_logger()

KEEP: Final = 5.0
"""Seconds after which the guard's memory is kept again: what a crash of all replicas can cost."""


class Watch:
    """`wait`: seconds after which a request can no longer end by a timeout."""

    def __init__(self, store: RolloutStore, clock: Clock, wait: float) -> None:
        self._wait = wait
        self.results: tuple[GateResult, ...] = ()
        self._store, self._clock = store, clock
        self._guard: Guard | None = None
        self._kept = 0.0

    @property
    def reference(self) -> float | None:
        """The error rate that is normal here; None where that is not known."""
        return self._guard.reference if self._guard is not None else None

    def follow(self, rollout: Rollout, wait: float) -> None:
        """Take over a changed configuration. No await: the agent is watched all the time, with the store away too."""
        self._wait = wait
        if self._guard is not None:
            self._guard.follow(rollout, wait)

    def ready(self, rollout: Rollout, state: RolloutState) -> bool:
        """Whether it has a guard for this state."""
        return self._guard is not None and self._guard.fits(rollout, state)

    async def begin(self, rollout: Rollout, state: RolloutState) -> None:
        """Get one, with what is remembered of it."""
        guard = Guard(rollout, state, wait=self._wait)
        try:
            memory = await self._store.load_guard(state.route)
            if memory is not None and guard.restore(memory):
                _log.info("guard_remembers", route=state.route, version=state.version, epoch=state.epoch)
        except StoreError as error:
            _log.warning("guard_without_memory", route=state.route, problem=str(error))
        self._guard, self.results = guard, ()

    def feed(self, source: str, rows: tuple[Arrived, ...]) -> None:
        """`source` is empty for our own rows."""
        if self._guard is not None and rows:
            self._guard.add(source, rows)

    def step(self, slot: int, state: RolloutState) -> tuple[GateResult, ...]:
        if self._guard is not None:
            self.results = self._guard.step(slot, state)
        return self.results

    async def keep(self, route: str, *, now: bool = False) -> None:
        """Save its memory, every KEEP seconds or `now`. Raises StoreError."""
        at = self._clock.monotonic()
        if self._guard is not None and (now or at - self._kept >= KEEP):
            self._kept = at
            await self._store.save_guard(route, self._guard.dump())
