"""What the kill of a worker cost: records that it had made and nobody has, counted once as `worker_killed`.

A life tells what the life before it owed (`proxy.storage.owed`): the records of ticks after the newest one that was
known to be kept. Some of these came here all the same, and only the acknowledgement did not reach the worker any more;
so what came of each source lately is remembered, and is not owed. Where this process was killed too it remembers
nothing, and what it counts is the most that can be lost.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from proxy.model.measures import OWED, WORKER_KILLED
from proxy.model.tick import Tick, settled

MAX_SOURCES: Final = 1024
MAX_TICKS: Final = 128
"""More than can come without an acknowledgement: a window on the way, or a batch that had just gone to the spool."""

_Came = tuple[int, dict[str, int]]
"""Of one tick its number, and of how many records by route it said what became of them."""


class Debts:
    """`dropped` is told (route, reason, how many records)."""

    def __init__(self, dropped: Callable[[str, str, int], None]) -> None:
        self._dropped = dropped
        self._came: OrderedDict[str, deque[_Came]] = OrderedDict()

    def take(self, tick: Tick) -> None:
        """A tick has come for the first time. Those of an earlier life come before the one that says what it owed."""
        for (route, source, seq), count in tick.counters.get(OWED.name, {}).items():
            lost = count - self._known(source, route, int(seq))
            if lost > 0:
                self._dropped(route, WORKER_KILLED, lost)
        records = settled(tick.counters)
        if records:
            self._came.setdefault(tick.source, deque(maxlen=MAX_TICKS)).append((tick.seq, records))
            self._came.move_to_end(tick.source)
            if len(self._came) > MAX_SOURCES:
                self._came.popitem(last=False)

    def _known(self, source: str, route: str, after: int) -> int:
        return sum(records.get(route, 0) for seq, records in self._came.get(source, ()) if seq > after)
