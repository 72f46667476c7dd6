"""Where one rollout stands: its state in memory, and the same in the store.

Rules kept here:
- what raises the agent's traffic is saved first and takes effect then; what takes traffic away takes effect at once and
  is saved as soon as the store lets it;
- a rollback never waits for the store: it happens between two awaits of whatever else goes on, and whoever awaited
  looks again at the state it began with;
- a state that somebody else saved is obeyed;
- a rollback is never undone but by a later epoch: where the store lost one, whoever knows of it puts it back;
- anything else that the store lost (a failover may cost its last writes) is put back by the lease holder alone, and
  only where the store holds what we have seen there before: otherwise others have gone on since, and they are obeyed.
"""

from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto
from typing import Final

import structlog

from proxy.model.clock import Clock
from proxy.model.errors import ConflictError, StoreUnavailableError
from proxy.model.ports import RolloutStore
from proxy.model.rollouts import Event, RolloutState
from proxy.model.words import Phase
from proxy.rollout import advance
from proxy.rollout.advance import Step

_log = structlog.get_logger()

PATIENCE: Final = 10.0
"""Seconds that the lease holder has to put back what the store lost; then the store is right."""
_MEMORY: Final = 64
"""States of the store that are remembered, to tell what it lost from what others made of it."""
_ATTEMPTS: Final = 5


class Found(Enum):
    """What the store holds, beside what we know."""

    AGREED = auto()
    ELSEWHERE = auto()
    """Others moved it."""
    LOST = auto()
    """It holds an earlier state of ours, or none."""
    UNDONE = auto()
    """It lost a rollback."""


class Standing:
    """`state` is None until the store could be asked. `taken` is called, without waiting, whenever it has changed, with
    the state before."""

    def __init__(
        self, route: str, store: RolloutStore, clock: Clock, taken: Callable[[RolloutState | None], None]
    ) -> None:
        self.route = route
        self.state: RolloutState | None = None
        self._store, self._clock, self._taken = store, clock, taken
        self._unsaved: Step | None = None
        self._saving: RolloutState | None = None
        self._seen: dict[int, RolloutState] = {}
        self._saved_soak = 0.0
        self._lost_since: float | None = None

    @property
    def known(self) -> RolloutState:
        if self.state is None:
            raise StoreUnavailableError(f"{self.route}: the store has not said yet where this rollout stands")
        return self.state

    @property
    def unsaved(self) -> bool:
        """Something took effect, and the store does not know it yet."""
        return self._unsaved is not None

    @property
    def unsaved_soak(self) -> float:
        return self.known.soaked - self._saved_soak

    # Taking effect

    def take(self, state: RolloutState, event: Event | None = None) -> None:
        """From now on this is where the rollout stands."""
        before, self.state, self._saved_soak = self.state, state, state.soaked
        self._lost_since = None
        if event is not None:
            _tell(state, event)
        self._taken(before)

    def take_at_once(self, step: Step) -> None:
        """Before it is saved; `save_late` does that."""
        self._unsaved = step
        self.take(step.state, step.event)

    def grow(self, state: RolloutState) -> None:
        """Only its soak has grown."""
        self.state = state

    # Saving

    async def save_first(self, step: Step) -> bool:
        """Save, then take effect. False where somebody was faster: in the store, or a rollback here."""
        before, self._saving = self.state, step.state
        try:
            await self._store.save(step.state, step.event)
        except ConflictError:
            _log.info("state_conflict", route=self.route, revision=step.state.revision)
            return False
        finally:
            self._saving = None
        self.learn(step.state)
        if self.state is not before:
            return False
        self.take(step.state, step.event)
        return True

    async def move(self, make: Callable[[], Step], *, leads: bool) -> None:
        """Save what `make` makes of where the rollout stands, on top of what the store holds; then it takes effect.
        Raises ConflictError where somebody else moves it at the same time (that its soak was saved is no move)."""
        for _ in range(_ATTEMPTS):
            await self.save_late()
            await self.ask(leads=leads)
            before = self.known
            if await self.save_first(make()):
                return
            await self.ask(leads=leads)
            if not _only_soaked(before, self.known):
                break
        raise self.contended()

    async def save_soak(self) -> None:
        await self.save_first(Step(advance.checkpoint(self.known)))

    async def save_late(self) -> None:
        """Save what took effect before it was saved, on top of whatever the store holds by now."""
        for _ in range(_ATTEMPTS):
            if (step := self._unsaved) is None:
                return
            try:
                await self._store.save(step.state, step.event)
            except ConflictError:
                await self._rebase(step)
            else:
                self.learn(step.state)
                if self._unsaved is step:
                    self._unsaved = None
        raise self.contended()

    async def _rebase(self, step: Step) -> None:
        """Somebody saved another state meanwhile. A rollback goes on top of it, unless a later epoch has begun
        (see `only_measured_anew`)."""
        stored = await self._store.load(self.route)
        if self._unsaved is not step:
            return
        if stored is not None:
            self.learn(stored)
            ours = step.state
            lifted = stored.epoch > ours.epoch and not only_measured_anew(ours.version, ours.epoch, stored)
            if lifted or stored.phase is Phase.DEGRADED:
                self._unsaved = None
                self.take(stored)
                return
        epoch = stored.epoch if stored is not None else step.state.epoch
        self._unsaved = Step(replace(step.state, epoch=epoch, revision=_revision(stored) + 1), step.event)
        self.state = self._unsaved.state

    def contended(self) -> ConflictError:
        return ConflictError(f"{self.route}: someone else moved this rollout")

    # The store

    async def ask(self, *, leads: bool) -> None:
        """Ask the store where the rollout stands, and come together with it."""
        revision = _revision(self.state)
        stored = await self._store.load(self.route)
        if self.meet(stored, revision, leads=leads):
            await self.put_back(stored)

    def meet(self, stored: RolloutState | None, revision: int, *, leads: bool) -> bool:
        """Come together with the store: it was asked when we stood at `revision`, and answered `stored`. Whether it
        lost what we are to `put_back`; or a rollback of ours, which is then to be saved late."""
        state = self.state
        if _revision(state) != revision or self.unsaved or (stored is not None and stored == self._saving):
            return False  # meanwhile something happened here; the next answer will tell
        if state is None:
            if stored is not None:
                self.learn(stored)
                self.take(stored)
            return False
        found = self._find(state, stored)
        if found is Found.AGREED:
            self._lost_since = None
        elif found is Found.UNDONE:
            _log.warning("rollback_put_back", route=self.route, stored=_revision(stored))
            self._unsaved = Step(replace(state, revision=_revision(stored) + 1))
            self.state = self._unsaved.state
        elif found is Found.LOST and (leads or (stored is None and self._has_waited())):
            return True
        elif stored is not None and (found is Found.ELSEWHERE or self._has_waited()):
            self._obey(state, stored)
        return False

    async def put_back(self, stored: RolloutState | None) -> None:
        _log.warning("state_put_back", route=self.route, stored=_revision(stored))
        await self.save_first(Step(replace(self.known, revision=_revision(stored) + 1)))

    def _find(self, state: RolloutState, stored: RolloutState | None) -> Found:
        if stored is None:
            return Found.LOST
        if state.phase is Phase.DEGRADED and stored.phase is not Phase.DEGRADED and _same_epoch(state, stored):
            return Found.UNDONE
        if stored.revision > state.revision or self._forked(stored):
            return Found.ELSEWHERE
        return Found.AGREED if stored.revision == state.revision else Found.LOST

    def _forked(self, stored: RolloutState) -> bool:
        """It is not what we have seen under this revision."""
        return self._seen.get(stored.revision, stored) != stored

    def _has_waited(self) -> bool:
        """For the lease holder to put back what is lost."""
        now = self._clock.monotonic()
        if self._lost_since is None:
            self._lost_since = now
        return now - self._lost_since >= PATIENCE

    def _obey(self, state: RolloutState, stored: RolloutState) -> None:
        if not _only_soaked(state, stored):
            _log.info("state_taken_over", route=self.route, revision=stored.revision, actor=stored.actor)
        self.learn(stored)
        self.take(stored)

    def learn(self, stored: RolloutState) -> None:
        """Remember that the store held it."""
        self._seen.pop(stored.revision, None)
        self._seen[stored.revision] = stored
        if len(self._seen) > _MEMORY:
            del self._seen[next(iter(self._seen))]


def _tell(state: RolloutState, event: Event) -> None:
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


def only_measured_anew(version: str, epoch: int, state: RolloutState) -> bool:
    """`state` is of the next epoch, which began because the configuration changed. That lifts no blame: what takes
    traffic away in the epoch before does so in this one."""
    return (version, epoch + 1, advance.BY_CONFIG) == (state.version, state.epoch, state.actor)


def _same_epoch(one: RolloutState, other: RolloutState) -> bool:
    return (one.version, one.epoch) == (other.version, other.epoch)


def _only_soaked(before: RolloutState, after: RolloutState) -> bool:
    """Nothing but the soak has changed from one to the other."""
    return replace(after, soaked=before.soaked, revision=before.revision) == before


def _revision(state: RolloutState | None) -> int:
    return state.revision if state is not None else 0
