"""The controller: it turns configuration and rollouts into snapshots, and moves the rollouts.

Five loops, so that none waits for what another one asks of the store. One watches: it feeds the guards with what the
workers report and needs no store. One renews the lease, one shares with other replicas what arrived. One follows: what
others saved takes effect here. One looks: it asks for each rollout's evidence, and as the lease holder moves stages.
With the store away the last two leave everything where it is, while the first one, and the workers' breakers, can still
take traffic away.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from proxy.config.compile import compile_snapshot
from proxy.control.arrivals import Arrivals
from proxy.control.configuration import Loaded
from proxy.control.course import Course
from proxy.control.sharing import Sharing
from proxy.model.clock import Clock
from proxy.model.errors import ConflictError, StoreError, StoreFormatError, StoreUnavailableError
from proxy.model.link import Trip
from proxy.model.measures import SLOT
from proxy.model.ports import RolloutStore
from proxy.model.snapshot import Placement, Snapshot
from proxy.model.tick import Tick
from proxy.storage import lastgood
from proxy.storage.lastgood import LastGood
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import spawn, stop

_log = structlog.get_logger()

WATCH: Final = SLOT
RENEW: Final = 0.5
SHARE: Final = 0.5
FOLLOW: Final = 0.25
LOOK: Final = 0.5
"""Seconds between two rounds of each loop. A rollback anywhere must have reached all within a second."""

_AT_ONCE: Final = 8
"""Rollouts that are looked at together: what one of them waits for must not hold up all others."""
_LATE: Final = 1.0
"""Seconds in which the end of a request is heard of."""
_ENDING: Final = 3.0
"""Seconds for what is saved last; a store that does not answer must not hold up the end."""


class Controller:
    """`publish` gets each new snapshot, at once. `last`, what was put to work before, stands in while the store cannot
    say where the rollouts are."""

    def __init__(
        self,
        loaded: Loaded,
        store: RolloutStore,
        sharing: Sharing,
        metrics: Metrics,
        clock: Clock,
        publish: Callable[[Snapshot], None],
        data_dir: Path,
        last: LastGood | None = None,
    ) -> None:
        self.loaded = loaded
        self.store_up = True
        self._store, self._sharing, self._metrics, self._clock = store, sharing, metrics, clock
        self._publish, self._data_dir, self._last = publish, data_dir, last
        self.number = last.number if last is not None else 0
        self._arrivals = Arrivals()
        self._held: dict[tuple[str, str], str] = {}
        self.snapshot: Snapshot | None = None
        self.courses = {name: self._course(name, loaded) for name in loaded.plans}
        self._tasks: list[asyncio.Task[None]] = []

    # Its life

    async def start(self, *, patient: bool) -> None:
        """Find out where all rollouts stand, and publish. Where the store is away: `patient` goes on with what was put
        to work last, otherwise StoreUnavailableError. Raises StoreFormatError where it holds what is not ours."""
        try:
            for course in self.courses.values():
                await course.settle()
        except StoreUnavailableError as error:
            if not patient:
                raise
            self._note_store(error)
        self._speak()
        if self.store_up:
            await self.renew()
        loops = (
            (WATCH, self._watch),
            (RENEW, self.renew),
            (SHARE, self.share),
            (FOLLOW, self.follow),
            (LOOK, self.look),
        )
        self._tasks = [spawn(self._every(*loop), f"controller {loop[1].__name__}") for loop in loops]

    async def close(self) -> None:
        """Stop, save how long the stages have held and what the guards know, and let another replica decide."""
        await stop(*self._tasks)
        try:
            async with asyncio.timeout(_ENDING):
                for course in self.courses.values():
                    await self._try(course, "end", course.checkpoint())
                await self._sharing.release()
        except (StoreError, TimeoutError) as error:
            _log.warning("soak_not_saved", problem=str(error) or "the store did not answer")

    # What can be asked

    @property
    def leads(self) -> bool | None:
        """Whether this replica decides; None while nobody knows who does."""
        return self._sharing.leads if self._sharing.known else None

    @property
    def replicas(self) -> int:
        """How many live, this one included."""
        return self._sharing.alive

    # What comes from workers

    def observe(self, tick: Tick) -> None:
        self._arrivals.add(tick)

    def trip(self, trip: Trip) -> None:
        """Take the traffic from the agent everywhere, now; save it beside."""
        course = self.courses.get(trip.route)
        if course is not None and course.trip(trip):
            self._save(course)

    # What goes on by itself

    async def _watch(self) -> None:
        self.watch()

    def watch(self) -> None:
        """Ask the guards. No await: a store that hangs does not hold up a rollback."""
        slot = int(self._clock.monotonic() / SLOT)
        for course in self.courses.values():
            if (key := course.watched) is not None:
                rows = self._arrivals.take(key)
                self._sharing.note(key, rows)
                if course.watch(slot, rows):
                    self._save(course)
        self._arrivals.watch({course.key for course in self.courses.values() if course.key is not None})

    async def renew(self) -> None:
        await self._sharing.renew()

    async def share(self) -> None:
        """Tell the other replicas what arrived here, and hear what arrived there."""
        try:
            reports = await self._sharing.share([*self.courses])
        except StoreError:
            return  # each look says so too
        for report in reports:
            if (course := self.courses.get(report.route)) is not None:
                course.hear(report)

    async def follow(self) -> None:
        """Obey what others saved."""
        courses = [*self.courses.values()]
        revisions = [course.revision for course in courses]
        try:
            answers = await self._store.load_all([course.plan.route for course in courses])
        except StoreUnavailableError:
            return  # each look says so too
        for course, revision, answer in zip(courses, revisions, answers, strict=True):
            await self._try(course, "follow", course.obey(answer, revision))

    async def look(self) -> None:
        """One round of the stage machine over all rollouts; each is held where its part of the store is away."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def look(course: Course) -> StoreUnavailableError | None:
            async with turns:
                return await self._try(course, "look", course.look())

        troubles = await asyncio.gather(*(look(course) for course in self.courses.values()))
        self._note_store(next(filter(None, troubles), None))

    # Configuration

    async def apply(self, loaded: Loaded) -> None:
        """Put a new configuration to work, whole. Raises StoreFormatError, before anything took effect, where the store
        holds what is not ours under a new route's name."""
        fresh = {name: self._course(name, loaded) for name in loaded.plans if name not in self.courses}
        for course in fresh.values():
            await self._settle(course)
        for name, course in self.courses.items():
            if name in loaded.plans:
                course.follow(loaded.plans[name], loaded.rollouts[name], _longest(loaded, name))
                try:
                    await self._settle(course)
                except StoreFormatError as error:
                    self._hold(course, error, "look")
        for name in self.loaded.routes.keys() - loaded.routes.keys():
            self._metrics.remove_route(name)
        for name in self.courses.keys() - loaded.plans.keys():
            self._metrics.remove_rollout(name)
        for name in self.loaded.config.upstreams.keys() - loaded.config.upstreams.keys():
            self._metrics.remove_upstream(name)
        self.courses = {name: fresh.get(name) or self.courses[name] for name in loaded.plans}
        self._held = {held: problem for held, problem in self._held.items() if held[0] in self.courses}
        self.loaded = loaded
        self._speak()

    # Snapshots

    def _moved(self) -> None:
        if self.snapshot is not None:  # the first one is made when all rollouts have said where they stand
            self._speak()

    def _speak(self) -> None:
        """Make the snapshot of what holds now; where it is another one, give it out and keep what it was made of."""
        placements = {name: course.placement for name, course in self.courses.items()}
        snapshot = compile_snapshot(self.loaded.config, placements, self.number + 1, self.loaded.digests)
        if self.snapshot is None or replace(self.snapshot, number=snapshot.number) != snapshot:
            self.snapshot, self.number = snapshot, snapshot.number
            self._publish(snapshot)
        try:
            lastgood.write(self._data_dir, self._good(placements))
        except OSError as error:
            _log.error("last_good_not_written", problem=str(error))

    def _good(self, placements: dict[str, Placement]) -> LastGood:
        loaded = self.loaded
        return LastGood(self.number, loaded.file, loaded.text, placements, loaded.digests)

    # Inside

    def _course(self, name: str, loaded: Loaded) -> Course:
        place = self._last.placements.get(name) if self._last is not None else None
        plan, rollout = loaded.plans[name], loaded.rollouts[name]
        wait, reach = _longest(loaded, name), (self._store, self._sharing, self._metrics, self._clock)
        return Course(plan, rollout, wait, *reach, self._moved, place)

    def _save(self, course: Course) -> None:
        spawn(course.save(), f"save the rollback of {course.plan.route}")

    async def _try(self, course: Course, name: str, step: Awaitable[None]) -> StoreUnavailableError | None:
        """Take a step with one rollout. What it raises holds this rollout alone. The store's being away is returned."""
        try:
            await step
        except StoreUnavailableError as error:
            return error
        except (StoreError, ConflictError) as error:
            self._hold(course, error, name)
        except Exception:  # noqa: BLE001  # a fault of ours in one rollout must not hold up the others
            _log.exception("controller_failed", route=course.plan.route)
        else:
            self._hold(course, None, name)
        return None

    async def _settle(self, course: Course) -> None:
        """Or let the next look do it."""
        try:
            await course.settle()
        except StoreUnavailableError as error:
            self._note_store(error)
        except ConflictError as error:
            self._hold(course, error, "look")

    def _hold(self, course: Course, error: Exception | None, step: str) -> None:
        """Say once why a rollout cannot take this step."""
        route, problem = course.plan.route, str(error) if error is not None else ""
        if problem != self._held.get((route, step), ""):
            if problem:
                _log.error("rollout_held", route=route, problem=problem)
            else:
                _log.info("rollout_goes_on", route=route)
        self._held[route, step] = problem

    def _note_store(self, error: StoreError | None) -> None:
        up = error is None
        if up and not self.store_up:
            _log.info("rollouts_go_on")
        elif not up and self.store_up:
            _log.error("rollouts_held", problem=str(error), hint="the store is away; traffic goes on as it is")
        self.store_up = up
        self._metrics.store_up(up)

    async def _every(self, interval: float, step: Callable[[], Awaitable[None]]) -> None:
        """Call `step` as long as we live. Nothing it raises ends this."""
        while True:
            await asyncio.sleep(interval)
            try:
                await step()
            except Exception:  # noqa: BLE001  # whatever it is, it is logged, and must not have been the last round
                _log.exception("controller_failed")


def _longest(loaded: Loaded, route: str) -> float:
    """Seconds that a request of this route may take on either arm, before a timeout ends it."""
    arms = (loaded.routes[route].legacy, loaded.rollouts[route].agent)
    return max(loaded.config.upstreams[name].longest for name in arms) + _LATE
