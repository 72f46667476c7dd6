"""What is kept goes when its time is over, also on a route to which nothing comes any more: the replica that leads
looks once a minute, a bounded number of entries at a time. It also finishes erasures that were cut off.
"""

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from proxy.control.batching import RouteRules
from proxy.control.rounds import rounds
from proxy.model.clock import Clock
from proxy.model.errors import CommandError, StoreError, StoreUnavailableError
from proxy.storage.erasure import ErasureStore
from proxy.storage.pairs import STORE_AGE, STORE_BYTES
from proxy.storage.retention import Bounds, RetentionStore
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger()

EVERY: Final = 60.0
"""Seconds between two rounds."""
MAX_SWEEPS: Final = 100
"""Of one route in one round."""


class Keeper:
    """`leads` tells whether this replica is the one that looks."""

    def __init__(
        self,
        store: RetentionStore,
        erasures: ErasureStore,
        metrics: Metrics,
        clock: Clock,
        leads: Callable[[], bool],
    ) -> None:
        self._store, self._erasures, self._metrics, self._clock = store, erasures, metrics, clock
        self._leads = leads
        self._rules: Mapping[str, RouteRules] = {}
        self._problems: dict[str, str] = {}

    def set_rules(self, rules: Mapping[str, RouteRules]) -> None:
        """From now on these routes are looked after, each by its `record`."""
        self._rules = rules

    async def run(self) -> None:
        """Until it is cancelled."""
        await rounds(EVERY, self.round, "keeping_failed")

    async def round(self) -> None:
        """Raises StoreUnavailableError; what is not done then is done in a later round."""
        if not self._leads():
            return
        for route, rules in list(self._rules.items()):
            record = rules.record
            try:
                await self._sweep(route, Bounds(record.max_age, record.max_pairs, record.max_bytes))
            except StoreUnavailableError:
                raise
            except StoreError as error:
                self._say(route, str(error))
            else:
                self._say(route, "")

    async def _sweep(self, route: str, bounds: Bounds) -> None:
        for _ in range(MAX_SWEEPS):
            swept = await self._store.sweep(route, bounds, self._clock.now())
            for reason, lost in ((STORE_AGE, swept.aged), (STORE_BYTES, swept.trimmed)):
                if lost:
                    self._metrics.count_dropped(route, reason, lost)
            if not swept.more:
                break
        if swept.unfinished:
            try:
                await self._erasures.rewrite(route)
            except CommandError:
                return  # it is under way
            _log.info("erasure_finished", route=route)

    def _say(self, route: str, problem: str) -> None:
        """Once, until it is another problem."""
        if problem and problem != self._problems.get(route, ""):
            _log.error("not_swept", route=route, problem=problem)
        self._problems[route] = problem
