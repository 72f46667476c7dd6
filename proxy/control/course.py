"""One rollout on its way: its state in memory, and the store behind it.

Rules kept here:
- what raises the agent's traffic is saved first and takes effect then; what takes traffic away takes effect at once and
  is saved as soon as the store lets it;
- a rollback never waits for the store: it happens between two awaits of whatever else goes on, and whoever awaited
  looks again at the state it began with;
- a state that somebody else saved is obeyed; one that the store lost is put back, for a lost rollback would be worse
  than a lost promotion;
- soak grows only while the store answers and the rollout is looked at, by at most `MAX_ELAPSED` at a time.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import structlog

from proxy.analysis.agreement import lower_bound
from proxy.config.rollout_schema import Rollout
from proxy.control.guard import Guard
from proxy.model.clock import Clock
from proxy.model.errors import ConflictError, StoreError, StoreUnavailableError
from proxy.model.link import Trip
from proxy.model.ports import RolloutStore
from proxy.model.rollouts import Event, Evidence, GateResult, RolloutState
from proxy.model.snapshot import Placement
from proxy.model.words import Phase, Verb, Verdict
from proxy.rollout import advance
from proxy.rollout.advance import Step
from proxy.rollout.gates import ALPHA
from proxy.rollout.plan import Plan
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger()

INTERVAL: Final = 0.5
"""Seconds between two looks at a rollout."""
CHECKPOINT: Final = 5.0
"""Seconds of grown soak after which it is saved: what a crash can cost."""
MAX_ELAPSED: Final = 5.0
"""Seconds that one tick may add to a soak: after a longer pause (a stopped process) nobody was looking."""
_ATTEMPTS: Final = 5

Moved = Callable[[], None]
"""Called, without waiting, when traffic must change."""


class Course:
    """`state` is None until the store could be asked; until then `fallback`, where it fits the plan, says where the
    rollout stands."""

    def __init__(
        self,
        plan: Plan,
        rollout: Rollout,
        store: RolloutStore,
        metrics: Metrics,
        clock: Clock,
        moved: Moved,
        fallback: Placement | None = None,
    ) -> None:
        self.plan, self.rollout = plan, rollout
        self.state: RolloutState | None = None
        self.settled = False
        self.evidence = Evidence()
        self.gates: tuple[GateResult, ...] = ()
        self.guards: tuple[GateResult, ...] = ()
        self._store, self._metrics, self._clock, self._moved = store, metrics, clock, moved
        self._fallback = fallback
        self._early_trip: Trip | None = None
        self._guard: Guard | None = None
        self._unsaved: Step | None = None
        self._saved_soak = 0.0
        self._lock = asyncio.Lock()

    @property
    def placement(self) -> Placement:
        """Where traffic goes. A version that has not begun gets none."""
        known = self._fallback if self.state is None else self.state.placement()
        if known is not None and known.version == self.plan.version:
            return known
        return Placement(self.plan.version, "", Phase.STAGING, known.epoch if known else 0, weight=0, shadow=0)

    # The configuration

    def follow(self, plan: Plan, rollout: Rollout) -> None:
        """Take over a changed configuration; `settle` then brings the state in line with it."""
        self.plan, self.rollout, self.settled = plan, rollout, False

    async def settle(self) -> None:
        """Bring state, store and plan in line: load, begin or replan. Raises StoreError; the next look tries again."""
        async with self._lock:
            for _ in range(_ATTEMPTS):
                await self._save_late()
                known, stored = self.state, await self._store.load(self.plan.route)
                if self.state is not known:
                    continue
                if known is not None and (stored is None or stored.revision < known.revision):
                    await self._put_back(known, stored)
                    continue
                step = self._in_line(known, stored)
                if step.event is None:
                    self._take(step.state)
                elif not await self._save_first(step):
                    continue
                self.settled = True
                if self._early_trip is not None:
                    self.trip(self._early_trip)
                return
        raise self._contended()

    def _in_line(self, known: RolloutState | None, stored: RolloutState | None) -> Step:
        now = self._clock.now()
        if stored is None or stored.version != self.plan.version:
            return advance.begin(self.plan, stored, now)
        if known is not None and known.revision == stored.revision:
            stored = known  # its soak has grown since
        return advance.replan(self.plan, stored, now)

    # Time

    def watch(self, elapsed: float, outcomes: Mapping[tuple[str, str], int]) -> None:
        """Feed the guard with what came in within `elapsed` seconds; where it finds the agent worse, roll back."""
        state = self.state
        if state is None or self.placement.weight == 0:
            return
        if self._guard is None or not self._guard.fits(self.rollout, state):
            self._guard = Guard(self.rollout, state, INTERVAL)
        self.guards = self._guard.step(elapsed, outcomes)
        for result in self.guards:
            if result.verdict is Verdict.FAILED:
                self._roll_back(state, result.name, f"{result.name}: {result.reason}")
                return

    async def look(self, elapsed: float) -> None:
        """Look at the rollout's evidence and move it where its gates passed. Raises StoreError."""
        if not self.settled:
            await self.settle()
            return
        async with self._lock:
            await self._save_late()
            await self._look_for_others()
            await self._look_at_evidence(min(elapsed, MAX_ELAPSED))

    async def checkpoint(self) -> None:
        """Save what must not be lost when we end. Raises StoreError."""
        async with self._lock:
            await self._save_late()
            if self.state is not None and self.state.soaked > self._saved_soak:
                await self._save_first(Step(advance.checkpoint(self.state)))

    # What takes traffic away

    def trip(self, trip: Trip) -> bool:
        """A worker's breaker swapped to legacy: swap everywhere. Whether it was news; `save` is then to be called."""
        placement, state = self.placement, self.state
        if (trip.version, trip.epoch) != (placement.version, placement.epoch) or placement.phase is Phase.DEGRADED:
            return False
        if state is None:
            self._early_trip = trip
            self._fallback = replace(placement, phase=Phase.DEGRADED, weight=0)
            self._moved()
            return True
        self._roll_back(state, "breaker", f"the breaker of a worker tripped: {trip.reason}")
        return True

    async def save(self) -> None:
        """Save a rollback, if one is not saved yet. While the store is away it waits for the next look."""
        try:
            async with self._lock:
                await self._save_late()
        except StoreError as error:
            _log.warning("rollback_not_saved_yet", route=self.plan.route, problem=str(error))

    # The operator

    async def command(self, verb: Verb, *, actor: str, reason: str, full: bool) -> None:
        """Raises CommandError, ConflictError, StoreError."""
        if verb is Verb.ABORT and self.state is not None:
            self._take_at_once(self._commanded(verb, actor, reason, full))
            self._metrics.count_rollback(self.plan.route, "operator")
            await self.save()
            return
        if not self.settled:
            await self.settle()
        async with self._lock:
            await self._save_late()
            await self._look_for_others()
            if not await self._save_first(self._commanded(verb, actor, reason, full)):
                raise self._contended()

    def _commanded(self, verb: Verb, actor: str, reason: str, full: bool) -> Step:
        now = self._clock.now()
        return advance.command(
            self.plan, self._known(), verb, actor=actor, reason=reason, now=now, full=full, gates=self.gates
        )

    # Steps of a look

    async def _look_for_others(self) -> None:
        """Obey what somebody else saved; put back what the store lost."""
        state, stored = self._known(), await self._store.load(self.plan.route)
        if self.state is not state:
            return
        if stored is None or stored.revision < state.revision:
            await self._put_back(state, stored)
        elif stored.revision > state.revision:
            _log.info("state_taken_over", route=self.plan.route, revision=stored.revision, actor=stored.actor)
            self._take(stored)

    async def _look_at_evidence(self, elapsed: float) -> None:
        state = self._known()
        evidence = await self._store.evidence(self.plan.route, state.version, state.epoch, state.stage_name)
        if self.state is not state:
            return
        self._show(evidence)
        users = await self._store.users(self.plan.route, state.version, state.epoch, state.stage_name, state.weight)
        if self.state is not state:
            return
        step = advance.advance(self.plan, state, evidence, users, elapsed, self._clock.now())
        self.gates = step.gates
        if step.event is not None:
            await self._save_first(step)
        elif step.state.soaked - self._saved_soak >= CHECKPOINT:
            await self._save_first(Step(advance.checkpoint(step.state)))
        else:
            self.state = step.state

    def _show(self, evidence: Evidence) -> None:
        self.evidence = evidence
        compared = evidence.matched + evidence.mismatched
        ratio = evidence.matched / compared if compared else None
        bound = lower_bound(evidence.matched, evidence.mismatched, ALPHA) if compared else None
        self._metrics.set_agreement(self.plan.route, ratio, bound)

    # Saving and taking effect

    async def _save_first(self, step: Step) -> bool:
        """Save, then take effect. False where somebody was faster: in the store, or a rollback here."""
        before = self.state
        try:
            await self._store.save(step.state, step.event)
        except ConflictError:
            _log.info("state_conflict", route=self.plan.route, revision=step.state.revision)
            return False
        if self.state is not before:
            return False
        self._take(step.state, step.event)
        return True

    async def _put_back(self, state: RolloutState, stored: RolloutState | None) -> None:
        _log.warning("state_put_back", route=self.plan.route, stored=stored.revision if stored else None)
        await self._save_first(Step(replace(state, revision=_revision(stored) + 1)))

    def _roll_back(self, state: RolloutState, word: str, reason: str) -> None:
        self._take_at_once(advance.rollback(self.plan, state, reason, self._clock.now()))
        self._metrics.count_rollback(self.plan.route, word)

    def _take_at_once(self, step: Step) -> None:
        self._unsaved = step
        self._take(step.state, step.event)

    async def _save_late(self) -> None:
        """Save what took effect before it was saved, on top of whatever the store holds by now."""
        for _ in range(_ATTEMPTS):
            if (step := self._unsaved) is None:
                return
            try:
                await self._store.save(step.state, step.event)
            except ConflictError:
                await self._rebase(step)
            else:
                self._unsaved = None
        raise self._contended()

    async def _rebase(self, step: Step) -> None:
        """Somebody saved another state meanwhile. A rollback goes on top of it, unless a later epoch has begun."""
        stored = await self._store.load(self.plan.route)
        if stored is not None and (stored.epoch > step.state.epoch or stored.phase is Phase.DEGRADED):
            self._unsaved = None
            self._take(stored)
            return
        state = replace(step.state, revision=_revision(stored) + 1)
        self._unsaved = Step(state, step.event)
        self.state = state

    def _take(self, state: RolloutState, event: Event | None = None) -> None:
        """From now on this is where the rollout stands."""
        before, place = self.state, self.placement
        self.state, self._saved_soak = state, state.soaked
        self._metrics.set_rollout(state.route, state.weight / 1000, state.phase)
        if event is not None:
            say = _log.warning if state.phase is Phase.DEGRADED else _log.info
            say(
                "rollout_moved",
                route=state.route,
                version=state.version,
                kind=event.kind,
                actor=event.actor,
                reason=event.reason,
                phase=state.phase.value,
                stage=state.stage_name,
                weight=state.weight / 1000,
            )
        if before is None or (before.stage_name, before.epoch) != (state.stage_name, state.epoch):
            self.evidence, self.gates, self.guards = Evidence(), (), ()
        if place != self.placement:
            self._moved()

    def _known(self) -> RolloutState:
        if self.state is None:
            raise StoreUnavailableError(f"{self.plan.route}: the store has not said yet where this rollout stands")
        return self.state

    def _contended(self) -> ConflictError:
        return ConflictError(f"{self.plan.route}: someone else moved this rollout")


def _revision(state: RolloutState | None) -> int:
    return state.revision if state is not None else 0
