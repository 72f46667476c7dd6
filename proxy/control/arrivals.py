"""What our own workers report of requests, by the slot in which they arrived: for the guards here, and for those of the
other replicas.
"""

from typing import Final

import structlog

from proxy.model.measures import OUTCOMES, Result
from proxy.model.rollouts import Arrived
from proxy.model.tick import Tick
from proxy.model.words import Arm

_log = structlog.get_logger()

MAX_SLOTS: Final = 4_096
"""Slots of one rollout that wait to be taken."""

Key = tuple[str, str, int]
"""(route, version, epoch): what one guard's counts belong to."""

_CHANGES: Final = {
    (arm.value, result.value): tuple((first + column, by) for column, by in columns)
    for arm, first in ((Arm.AGENT, 0), (Arm.LEGACY, 4))
    for result, columns in (
        (Result.ARRIVED, ((0, 1),)),
        (Result.OK, ((1, 1),)),
        (Result.FAILED, ((1, 1), (2, 1))),
        (Result.SLOW, ((3, 1),)),
        (Result.WITHDRAWN, ((0, -1),)),
    )
}
"""Which counts of `Arrived` an outcome changes, after its slot, and in which direction; by (arm, result)."""


class Arrivals:
    """What our own workers reported since it was last taken, by rollout and slot.

    Only rollouts that were asked for are kept (`watch`), and of each so many slots, so what workers send cannot make it
    grow.
    """

    def __init__(self) -> None:
        self._slots: dict[Key, dict[int, list[int]]] = {}

    def watch(self, keys: set[Key]) -> None:
        self._slots = {key: self._slots.get(key, {}) for key in keys}

    def add(self, tick: Tick) -> None:
        lost = 0
        for labels, count in tick.counters.get(OUTCOMES.name, {}).items():
            route, version, _stage, epoch, arm, result, slot = labels
            changes, slots = _CHANGES.get((arm, result)), self._slots.get((route, version, int(epoch)))
            if changes is None or slots is None or not slot.isdecimal():
                continue
            counts = slots.get(int(slot))
            if counts is None:
                if len(slots) >= MAX_SLOTS:
                    lost += count
                    continue
                counts = slots[int(slot)] = [0] * (len(Arrived._fields) - 1)
            for index, by in changes:
                counts[index] += by * count
        if lost:
            _log.warning("guard_outcomes_dropped", source=tick.source, outcomes=lost, limit=MAX_SLOTS)

    def take(self, key: Key) -> tuple[Arrived, ...]:
        """By slot. Those of a rollout that is not watched are none."""
        slots = self._slots.get(key)
        if not slots:
            return ()
        self._slots[key] = {}
        return tuple(Arrived(slot, *counts) for slot, counts in sorted(slots.items()))
