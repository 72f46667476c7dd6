"""The controller: it turns configuration and rollouts into snapshots, and moves the rollouts.

Two loops. One watches: it feeds the guards with what the workers report and needs no store. The other looks: it asks
the store for each rollout's evidence and moves stages. With the store away the second one holds everything where it is,
while the first one, and the workers' breakers, can still take traffic away.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from proxy.config.compile import compile_snapshot
from proxy.control.configuration import Loaded
from proxy.control.course import INTERVAL, Course
from proxy.control.guard import Arrivals
from proxy.model.clock import Clock
from proxy.model.errors import ConflictError, StoreError, StoreFormatError, StoreUnavailableError
from proxy.model.link import Trip
from proxy.model.ports import RolloutStore
from proxy.model.snapshot import Placement, Snapshot
from proxy.model.tick import Tick
from proxy.storage import lastgood
from proxy.storage.lastgood import LastGood
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import spawn, stop

_log = structlog.get_logger()

_ENDING: Final = 3.0
"""Seconds for the last checkpoint; a store that does not answer must not hold up the end."""


class Controller:
    """`publish` gets each new snapshot, at once. `last`, what was put to work before, stands in while the store cannot
    say where the rollouts are."""

    def __init__(
        self,
        loaded: Loaded,
        store: RolloutStore,
        metrics: Metrics,
        clock: Clock,
        publish: Callable[[Snapshot], None],
        data_dir: Path,
        last: LastGood | None = None,
    ) -> None:
        self.loaded = loaded
        self.store_up = True
        self._store, self._metrics, self._clock, self._publish = store, metrics, clock, publish
        self._data_dir, self._last = data_dir, last
        self.number = last.number if last is not None else 0
        self._arrivals = Arrivals()
        self._held: dict[str, str] = {}
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
        self._tasks = [
            spawn(self._every(INTERVAL, self._watch), "controller watch"),
            spawn(self._every(INTERVAL, self.look), "controller look"),
        ]

    async def close(self) -> None:
        """Stop, and save how long the stages have held."""
        await stop(*self._tasks)
        try:
            async with asyncio.timeout(_ENDING):
                for course in self.courses.values():
                    await course.checkpoint()
        except (StoreError, ConflictError, TimeoutError) as error:
            _log.warning("soak_not_saved", problem=str(error) or "the store did not answer")

    # What comes from workers

    def observe(self, tick: Tick) -> None:
        self._arrivals.add(tick)

    def trip(self, trip: Trip) -> None:
        """Take the traffic from the agent everywhere, now; save it beside."""
        course = self.courses.get(trip.route)
        if course is not None and course.trip(trip):
            spawn(course.save(), f"save the rollback of {trip.route}")

    # What goes on by itself

    async def _watch(self, elapsed: float) -> None:
        self.watch(elapsed)

    def watch(self, elapsed: float) -> None:
        for course in self.courses.values():
            if course.state is not None:
                state = course.state
                course.watch(elapsed, self._arrivals.take((state.route, state.version, state.epoch)))
        states = [course.state for course in self.courses.values() if course.state is not None]
        self._arrivals.watch({(state.route, state.version, state.epoch) for state in states})

    async def look(self, elapsed: float) -> None:
        """One tick of the stage machine over all rollouts; held where the store is away."""
        for course in list(self.courses.values()):
            try:
                await course.look(elapsed)
            except StoreUnavailableError as error:
                self._note_store(error)
                return
            except (StoreError, ConflictError) as error:
                self._hold(course, error)
            else:
                self._hold(course, None)
        self._note_store(None)

    # Configuration

    async def apply(self, loaded: Loaded) -> None:
        """Put a new configuration to work, whole. Raises StoreFormatError, before anything took effect, where the store
        holds what is not ours under a new route's name."""
        fresh = {name: self._course(name, loaded) for name in loaded.plans if name not in self.courses}
        for course in fresh.values():
            await self._settle(course)
        for name, course in self.courses.items():
            if name in loaded.plans:
                course.follow(loaded.plans[name], loaded.rollouts[name])
                try:
                    await self._settle(course)
                except StoreFormatError as error:
                    self._hold(course, error)
        for name in self.loaded.routes.keys() - loaded.routes.keys():
            self._metrics.remove_route(name)
        for name in self.courses.keys() - loaded.plans.keys():
            self._metrics.remove_rollout(name)
        for name in self.loaded.config.upstreams.keys() - loaded.config.upstreams.keys():
            self._metrics.remove_upstream(name)
        self.courses = {name: fresh.get(name) or self.courses[name] for name in loaded.plans}
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
        return Course(plan, rollout, self._store, self._metrics, self._clock, self._moved, place)

    async def _settle(self, course: Course) -> None:
        """Or let the next look do it."""
        try:
            await course.settle()
        except StoreUnavailableError as error:
            self._note_store(error)
        except ConflictError as error:
            self._hold(course, error)

    def _hold(self, course: Course, error: Exception | None) -> None:
        """Say once why a rollout cannot be looked at."""
        route, problem = course.plan.route, str(error) if error is not None else ""
        if problem != self._held.get(route, ""):
            if problem:
                _log.error("rollout_held", route=route, problem=problem)
            else:
                _log.info("rollout_looked_at_again", route=route)
        self._held[route] = problem

    def _note_store(self, error: StoreError | None) -> None:
        up = error is None
        if up and not self.store_up:
            _log.info("rollouts_go_on")
        elif not up and self.store_up:
            _log.error("rollouts_held", problem=str(error), hint="the store is away; traffic goes on as it is")
        self.store_up = up
        self._metrics.store_up(up)

    async def _every(self, interval: float, step: Callable[[float], Awaitable[None]]) -> None:
        """Call `step`, with the seconds since it was called last, as long as we live. Nothing it raises ends this."""
        last = self._clock.monotonic()
        while True:
            await asyncio.sleep(interval)
            now = self._clock.monotonic()
            elapsed, last = now - last, now
            try:
                await step(elapsed)
            except Exception:  # noqa: BLE001  # whatever it is, it is logged, and must not have been the last look
                _log.exception("controller_failed")
