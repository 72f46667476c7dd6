"""Slots of several machines on one scale. Each source numbers them by its own monotonic clock, so they say how far
apart its requests arrived, and nothing more; a constant offset for each source turns them into ours."""

from collections.abc import Sequence
from typing import Final

from proxy.model.rollouts import Arrived

WINDOW: Final = 300
"""Slots (a minute) after which an offset that proved too small is made larger."""

DRIFT: Final = 25
"""Slots (5 s) by which the offset may be wrong, before that is taken for a clock that stood still or began anew."""

BACK: Final = 10
"""Slots (2 s) before we first heard of a source from which its requests are known from their arrival on."""


class Source:
    """One source's offset. What it reports as new cannot have arrived after now, and arrived hardly before: so the
    newest arrival of each report is at now or earlier, and the offset is as large as that allows.

    `since` is the first slot, by its own numbers, of which we know all requests: of those before it we may have missed
    the arrival and hear only the end.
    """

    __slots__ = ("_least", "_until", "heard", "offset", "since")

    def __init__(self, rows: Sequence[Arrived], now: int, *, own: bool = False) -> None:
        """`rows` are its first report. `own`: it numbers slots by our clock."""
        arrivals = _arrivals(rows)
        newest = max(arrivals or [row.slot for row in rows], default=now)
        self.offset = self._least = 0 if own else now - newest
        self.heard, self._until = now, now + WINDOW
        self.since = self._first(arrivals, now)

    def hear(self, rows: Sequence[Arrived], now: int) -> None:
        """Look at the offset again, with the report that came now."""
        self.heard = now
        arrivals = _arrivals(rows)
        if not arrivals:
            return
        offset = now - max(arrivals)
        self._least = min(self._least, offset)
        if abs(offset - self.offset) > DRIFT:
            self._anchor(offset, now)
            self.since = self._first(arrivals, now)
        elif offset < self.offset:
            self._anchor(offset, now)
        elif now >= self._until:
            self._anchor(self._least, now)
            self._least = offset

    def _anchor(self, offset: int, now: int) -> None:
        self.offset = self._least = offset
        self._until = now + WINDOW

    def _first(self, arrivals: list[int], now: int) -> int:
        present = now - self.offset
        return max(min(arrivals, default=present), present - BACK)


def _arrivals(rows: Sequence[Arrived]) -> list[int]:
    return [row.slot for row in rows if row.agent > 0 or row.legacy > 0]
