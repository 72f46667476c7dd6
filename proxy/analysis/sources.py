"""Slots of several machines on one scale. Each source numbers them by its own monotonic clock, so they say how far
apart its requests arrived, and nothing more; a constant offset for each source turns them into ours."""

from collections.abc import Sequence
from typing import Final

from proxy.model.rollouts import Arrived

WINDOW: Final = 300
"""Slots (a minute) after which an offset that proved too small is made larger."""

DRIFT: Final = 25
"""Slots (5 s) by which what just arrived elsewhere may seem old, before that is taken for a clock that stood still."""

BACK: Final = 10
"""Slots (2 s) before we first heard of a source from which its requests are known from their arrival on."""


class Source:
    """One source's offset. What it reports as new cannot have arrived after now, and arrived hardly before: so the
    newest arrival of each report is at now or earlier, and the offset is as large as that allows."""

    __slots__ = ("_least", "_until", "heard", "offset", "since")

    def __init__(self, rows: Sequence[Arrived], now: int, *, own: bool = False) -> None:
        """`rows` are its first report. `own`: it numbers slots by our clock. `since` is the slot (of ours) from which
        on we know all of its requests: of older ones we may only hear the end."""
        arrivals = [row.slot for row in rows if row.agent > 0 or row.legacy > 0]
        newest = max(arrivals or [row.slot for row in rows], default=now)
        self.offset = 0 if own else now - newest
        self.since = max(min(arrivals) + self.offset if arrivals else now, now - BACK)
        self.heard = now
        self._least, self._until = self.offset, now + WINDOW

    def hear(self, rows: Sequence[Arrived], now: int) -> None:
        """Look at the offset again, with the report that came now."""
        self.heard = now
        newest = max((row.slot for row in rows if row.agent > 0 or row.legacy > 0), default=None)
        if newest is None:
            return
        offset = now - newest
        self._least = min(self._least, offset)
        if offset < self.offset or offset > self.offset + DRIFT:
            self._anchor(offset, now)
        elif now >= self._until:
            self._anchor(self._least, now)
            self._least = offset

    def _anchor(self, offset: int, now: int) -> None:
        self.offset = self._least = offset
        self._until = now + WINDOW
