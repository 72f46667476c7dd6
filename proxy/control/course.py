"""One rollout on its way: what moves it. Where it stands, and what is saved when, is in `standing`.

Every replica looks at the evidence and asks the gates, so that each can show them, and obeys what others saved. What
follows from it is done once:
- the lease holder alone moves stages, lets the soak grow, and rolls back for a gate or the guard. Where nobody can know
  who holds the lease, the guard rolls back here at once;
- a breaker's trip and an operator's verb are done by whoever hears of them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from proxy.config.rollout_schema import Rollout
from proxy.control.arrivals import Key
from proxy.control.examination import Examination
from proxy.control.sharing import Lease
from proxy.control.standing import Standing, only_measured_anew
from proxy.control.watch import Watch
from proxy.model.clock import Clock
from proxy.model.errors import ConflictError, StoreError
from proxy.model.link import Trip
from proxy.model.ports import RolloutStore
from proxy.model.rollouts import Arrived, Evidence, GateResult, Report, RolloutState, Users
from proxy.model.snapshot import Placement
from proxy.model.words import Phase, Verb, Verdict
from proxy.rollout import advance
from proxy.rollout.advance import Step
from proxy.rollout.plan import Plan
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger()

CHECKPOINT: Final = 5.0
"""Seconds of grown soak after which it is saved: what a crash can cost."""
_ATTEMPTS: Final = 5

_SAFE: Final = (Verb.PAUSE, Verb.ABORT)
"""Verbs that give the agent no more traffic, whatever the plan."""

Moved = Callable[[], None]
"""Called, without waiting, when traffic must change."""


class Course:
    """`state` is None until the store could be asked; until then `fallback`, where it fits the plan, says where the
    rollout stands. `wait`: seconds after which a request can no longer end by a timeout."""

    def __init__(
        self,
        plan: Plan,
        rollout: Rollout,
        wait: float,
        store: RolloutStore,
        lease: Lease,
        metrics: Metrics,
        clock: Clock,
        moved: Moved,
        fallback: Placement | None = None,
    ) -> None:
        self.plan, self.rollout = plan, rollout
        self.settled = False
        self._store, self._lease, self._metrics, self._clock, self._moved = store, lease, metrics, clock, moved
        self._fallback = fallback
        self._why = "it was rolled back before this process began, and the store does not know why"
        self._standing = Standing(plan.route, store, clock, self._taken)
        self._watch, self._examination = Watch(store, clock, wait), Examination(store, metrics, clock)
        self._place = self.placement
        self._lock = asyncio.Lock()

    @property
    def state(self) -> RolloutState | None:
        return self._standing.state

    @property
    def revision(self) -> int:
        return self.state.revision if self.state is not None else 0

    @property
    def evidence(self) -> Evidence:
        return self._examination.evidence

    @property
    def users(self) -> Users:
        return self._examination.users

    @property
    def gates(self) -> tuple[GateResult, ...]:
        return self._examination.gates

    @property
    def guards(self) -> tuple[GateResult, ...]:
        return self._watch.results

    @property
    def unsaved(self) -> bool:
        """Traffic was taken away, and the store does not know it yet."""
        return self._standing.unsaved

    @property
    def placement(self) -> Placement:
        """Where traffic goes. A version that has not begun gets none."""
        state, reference = self._standing.state, self._watch.reference
        known = self._fallback if state is None else state.placement()
        if known is None or known.version != self.plan.version:
            return Placement(self.plan.version, "", Phase.STAGING, known.epoch if known else 0, weight=0, shadow=0)
        return known if reference is None else replace(known, reference=reference)

    # The configuration

    def follow(self, plan: Plan, rollout: Rollout, wait: float) -> None:
        """Take over a changed configuration; `settle` then brings the state in line with it."""
        self.plan, self.rollout, self.settled = plan, rollout, False
        self._watch.follow(rollout, wait)

    async def settle(self) -> None:
        """Bring state, store and plan in line: load, begin or replan. Raises StoreError; the next look tries again."""
        async with self._lock:
            for _ in range(_ATTEMPTS):
                await self._standing.save_late()
                await self._standing.ask(leads=self._lease.leads)
                self._roll_back_again()
                if self.unsaved:
                    continue
                step = self._in_line()
                if step.event is None or await self._standing.save_first(step):
                    break
            else:
                raise self._standing.contended()
            self.settled = True
            await self._attend()

    def _in_line(self) -> Step:
        now, state = self._clock.now(), self.state
        if state is None or state.version != self.plan.version:
            return advance.begin(self.plan, state, now)
        return advance.replan(self.plan, state, now)

    def _roll_back_again(self) -> None:
        """What was rolled back before the store could be asked stays so, though the store may not know it."""
        before, state = self._fallback, self.state
        if before is None or state is None or before.phase is not Phase.DEGRADED or state.phase is Phase.DEGRADED:
            return
        if (before.version, before.epoch) == (state.version, state.epoch):
            self._standing.take_at_once(advance.rollback(self.plan, state, self._why, self._clock.now()))

    # The guard

    @property
    def key(self) -> Key | None:
        """Whose arrivals are ours. None too where others lead another version than ours: there will be no guard."""
        state = self.state
        if state is None or state.version != self.plan.version:
            return None
        return state.route, state.version, state.epoch

    @property
    def watched(self) -> Key | None:
        """The same, once there is a guard for `watch`."""
        return self.key if self.state is not None and self._watch.ready(self.rollout, self.state) else None

    def watch(self, slot: int, rows: tuple[Arrived, ...]) -> bool:
        """Feed the guard with what arrived here. It is `slot` now, by our clock. Where the guard finds the agent worse,
        roll back; `save` is then to be called."""
        state = self.state
        if self.watched is None or state is None:
            return False
        self._watch.feed("", rows)
        results = self._watch.step(slot, state)
        self._tell_if_moved()
        if state.weight == 0 or not self._lease.may_roll_back:
            return False
        failed = next((each for each in results if each.verdict is Verdict.FAILED and not each.dry_run), None)
        if failed is not None:
            word = failed.name.removesuffix("_objective")
            self._roll_back(state, word, f"{failed.name}: {failed.reason}", results)
        return failed is not None

    def hear(self, report: Report) -> None:
        """What arrived at another replica."""
        if self.watched == (report.route, report.version, report.epoch):
            self._watch.feed(report.source, report.rows)

    async def _attend(self) -> None:
        """See to it that there is a guard for where the rollout stands."""
        state = self._standing.known
        if state.version == self.plan.version and not self._watch.ready(self.rollout, state):
            await self._watch.begin(self.rollout, state)

    # What the store says

    async def obey(self, stored: RolloutState | StoreError | None, revision: int) -> None:
        """The store was asked when we stood at `revision`, and answered `stored`. Raises StoreError."""
        if isinstance(stored, StoreError):
            raise stored
        if not self.settled:
            return
        if self._standing.meet(stored, revision, leads=self._lease.leads):
            async with self._lock:
                if self._standing.known.revision == revision:
                    await self._standing.put_back(stored)
        if self.unsaved:
            await self.save()

    async def look(self) -> None:
        """Look at the rollout's evidence; the lease holder moves it where its gates say so. Raises StoreError."""
        try:
            if not self.settled:
                await self.settle()
            async with self._lock:
                await self._attend()
                await self._standing.save_late()
                await self._look_at_evidence()
                if self._lease.leads:
                    await self._watch.keep(self.plan.route)
        except StoreError:
            self._examination.interrupt()
            raise

    async def checkpoint(self) -> None:
        """Save what must not be lost when we end. Raises StoreError."""
        async with self._lock:
            await self._standing.save_late()
            if self.state is not None and self._lease.leads:
                if self._standing.unsaved_soak > 0:
                    await self._standing.save_soak()
                await self._watch.keep(self.plan.route, now=True)

    # What takes traffic away

    def trip(self, trip: Trip) -> bool:
        """A worker's breaker swapped to legacy: swap everywhere. Whether it was news; `save` is then to be called."""
        placement, state = self.placement, self.state
        ours = (trip.version, trip.epoch) == (placement.version, placement.epoch)
        ours = ours or (state is not None and only_measured_anew(trip.version, trip.epoch, state))
        if not ours or placement.phase is Phase.DEGRADED:
            return False
        reason = f"the breaker of a worker tripped: {trip.reason}"
        if state is not None:
            self._roll_back(state, "breaker", reason, self.guards)
            return True
        self._fallback, self._why = replace(placement, phase=Phase.DEGRADED, weight=0), reason
        self._metrics.count_rollback(self.plan.route, "breaker")
        self._tell_if_moved()
        return True

    async def save(self) -> None:
        """Save a rollback, if one is not saved yet. Where that cannot be now, it waits for the next look."""
        try:
            async with self._lock:
                await self._standing.save_late()
        except (StoreError, ConflictError) as error:
            _log.warning("rollback_not_saved_yet", route=self.plan.route, problem=str(error))

    def _roll_back(self, state: RolloutState, word: str, reason: str, results: tuple[GateResult, ...]) -> None:
        self._standing.take_at_once(advance.rollback(self.plan, state, reason, self._clock.now(), results))
        self._metrics.count_rollback(self.plan.route, word)

    # The operator

    async def command(self, verb: Verb, *, actor: str, reason: str, full: bool) -> None:
        """Raises CommandError, ConflictError, StoreError."""
        if verb is Verb.ABORT and self.state is not None:
            self._standing.take_at_once(self._commanded(verb, actor, reason, full))
            self._metrics.count_rollback(self.plan.route, "operator")
            await self.save()
            return
        if not self.settled:
            await self.settle()
        async with self._lock:
            await self._standing.move(lambda: self._commanded(verb, actor, reason, full), leads=self._lease.leads)

    def _commanded(self, verb: Verb, actor: str, reason: str, full: bool) -> Step:
        state, now = self._standing.known, self._clock.now()
        if verb not in _SAFE:
            self._refuse_other_plan(state)
        gates = self._examination.ask(self.plan, state)
        return advance.command(self.plan, state, verb, actor=actor, reason=reason, now=now, full=full, gates=gates)

    # Steps of a look

    async def _look_at_evidence(self) -> None:
        if not self.settled:
            return  # the configuration has changed since; the next look settles it
        state = self._standing.known
        self._refuse_other_plan(state)
        seen = await self._examination.see(state)
        if self.state is not state or not self.settled:
            return
        step = self._examination.judge(self.plan, state, seen, leads=self._lease.leads)
        if step is not None:
            await self._act(step)

    async def _act(self, step: Step) -> None:
        if step.event is None:
            self._standing.grow(step.state)
            if self._standing.unsaved_soak >= CHECKPOINT:
                await self._standing.save_soak()
        elif step.state.phase is Phase.DEGRADED:
            self._standing.take_at_once(step)
            self._metrics.count_rollback(self.plan.route, "gates")
            await self._standing.save_late()
        else:
            await self._standing.save_first(step)

    def _refuse_other_plan(self, state: RolloutState) -> None:
        """Replicas with different configurations must not move the rollout to and fro: who changed it last is right,
        until this one's configuration changes too."""
        if self._in_line().event is not None:
            raise ConflictError(
                f"{self.plan.route}: another replica leads version {state.version} by another configuration than this"
                " one's; give all replicas the same"
            )

    # Inside

    def _taken(self, before: RolloutState | None) -> None:
        state = self._standing.known
        self._metrics.set_rollout(state.route, state.weight / 1000, state.phase)
        if before is None or (before.stage_name, before.epoch) != (state.stage_name, state.epoch):
            self._examination.forget()
        self._tell_if_moved()

    def _tell_if_moved(self) -> None:
        if self.placement != self._place:
            self._place = self.placement
            self._moved()
