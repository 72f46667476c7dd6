"""What this replica shares with the others: the lease, by which one of them decides, and what arrived here, so that
every one's guards know what arrived everywhere. A replica that is alone tells nobody anything.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import structlog

from proxy.control.arrivals import Key
from proxy.model.clock import Clock
from proxy.model.errors import StoreError
from proxy.model.ports import Replicas
from proxy.model.rollouts import Arrived, Report
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger()

STALE: Final = 3.0
"""Seconds after which nobody knows any more who holds the lease, if the store has not answered within them."""
MAX_SLOTS: Final = 512
"""Slots of one rollout whose rows wait to be told; the oldest go first. Requests that end together may have arrived as
far apart as a timeout is long."""


class Lease(Protocol):
    """What a rollout asks of it."""

    @property
    def leads(self) -> bool:
        """We hold the lease: we move stages, and put back what the store lost."""
        ...

    @property
    def may_roll_back(self) -> bool:
        """We hold the lease, or nobody can know who does: then the guard waits for no other one."""
        ...


class Sharing:
    """`source` is what the others call us."""

    def __init__(self, replicas: Replicas, metrics: Metrics, clock: Clock, source: str) -> None:
        self.alive = 1
        self._replicas, self._metrics, self._clock, self._source = replicas, metrics, clock, source
        self._answered: float | None = None
        self._led = False
        self._problem = ""
        self._rows: dict[Key, dict[int, list[int]]] = {}

    @property
    def leads(self) -> bool:
        return self._replicas.leads

    @property
    def known(self) -> bool:
        """The store has told lately who leads."""
        return self.leads or (self._answered is not None and self._clock.monotonic() - self._answered < STALE)

    @property
    def may_roll_back(self) -> bool:
        return self.leads or not self.known

    def note(self, key: Key, rows: Sequence[Arrived]) -> None:
        """What arrived here, to be told to the others."""
        if self.alive < 2 or not rows:
            return
        table = self._rows.setdefault(key, {})
        for row in rows:
            counts = table.setdefault(row.slot, [0] * (len(row) - 1))
            for place, count in enumerate(row[1:]):
                counts[place] += count
        lost = sorted(table)[:-MAX_SLOTS]
        for slot in lost:
            del table[slot]
        if lost:
            _log.warning("arrivals_not_told", route=key[0], slots=len(lost), limit=MAX_SLOTS)

    async def renew(self) -> None:
        """Say that we live, and take or renew the lease."""
        try:
            self.alive = await self._replicas.lead()
        except StoreError as error:
            self._answered = None
            self._say(str(error))
        else:
            self._answered = self._clock.monotonic()
            self._say("")
        self._show()

    async def share(self, routes: Sequence[str]) -> list[Report]:
        """Tell, and hear. Raises StoreError; what was to be told is told later."""
        if self.alive < 2:
            self._rows.clear()
            return []
        reports, self._rows = [self._report(key, table) for key, table in self._rows.items()], {}
        await self._replicas.tell(reports)
        return await self._replicas.hear(routes)

    async def release(self) -> None:
        """Let another one decide at once. Raises StoreError."""
        await self._replicas.release()
        self._show()

    def _report(self, key: Key, table: Mapping[int, list[int]]) -> Report:
        rows = tuple(Arrived(slot, *counts) for slot, counts in sorted(table.items()))
        return Report(*key, self._source, rows)

    def _show(self) -> None:
        self._metrics.set_replicas(self.alive, self.leads)
        if self.leads is not self._led:
            self._led = self.leads
            _log.info("lease_taken" if self._led else "lease_lost", replicas=self.alive)

    def _say(self, problem: str) -> None:
        """Once, that the other replicas cannot be reached, and once that they can."""
        if bool(problem) != bool(self._problem):
            if problem:
                _log.warning("replicas_out_of_reach", problem=problem)
            else:
                _log.info("replicas_in_reach", replicas=self.alive)
        self._problem = problem
