"""When a rollout stands still by the calendar: windows by week, by day or by dates, in a named time zone.

Windows are told in times of the clock on the wall. When that clock is put back, an hour of it comes twice, and when it
is put forward, one never comes. A window that begins in such an hour begins at the earlier of the two readings, one
that ends there ends at the later: rather an hour more of standing still than one less.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from typing import Annotated, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, PlainSerializer, PlainValidator, WithJsonSchema

from proxy.config.units import UnfitError

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
_CLOCK: Final = r"((?:[01]\d|2[0-3]):[0-5]\d|24:00)"
"""`24:00` is the end of its day."""
_DAILY: Final = re.compile(rf"{_CLOCK} *- *{_CLOCK}")
_WEEKLY: Final = re.compile(rf"({'|'.join(_DAYS)}) +{_CLOCK} *- *({'|'.join(_DAYS)}) +{_CLOCK}")
_DATES: Final = re.compile(r"(\d{4}-\d\d-\d\d) *- *(\d{4}-\d\d-\d\d)")
_UNFIT: Final = (
    "is no window; write days and times (Fri 16:00 - Mon 08:00), times of each day (18:00 - 08:00) or dates"
    " (2026-12-23 - 2027-01-02)"
)


@dataclass(frozen=True, slots=True)
class FreezeWindow:
    """From `start` until before `end`, in minutes: of the week or the day where there is a `period`, around whose end
    it may go, else since 0001-01-01 (a Monday). `text` is how it was written."""

    text: str
    period: int
    start: int
    end: int

    @property
    def length(self) -> int:
        """Minutes by the clock on the wall."""
        return (self.end - self.start) % self.period if self.period else self.end - self.start

    def until(self, now: float, zone: ZoneInfo) -> float | None:
        """When the window that `now` is in ends, None where it is in none; both Unix seconds."""
        local = datetime.fromtimestamp(now, zone)
        minute = (local.toordinal() - 1) * _DAY + local.hour * 60 + local.minute
        return max((end for start, end in self._near(minute, zone) if start <= now < end), default=None)

    def _near(self, minute: int, zone: ZoneInfo) -> Iterator[tuple[float, float]]:
        """The last window that began by then, and its neighbours, which a change of the clock may have reach there."""
        starts: tuple[int, ...] = (self.start,)
        if self.period:
            last = minute - (minute - self.start) % self.period
            starts = (last - self.period, last, last + self.period)
        for start in starts:
            yield min(_readings(start, zone)), max(_readings(start + self.length, zone))


class Frozen(NamedTuple):
    """A freeze under way: how its window was written, and when it ends (Unix seconds)."""

    text: str
    until: float


@dataclass(frozen=True, slots=True)
class Freeze:
    """All windows of a rollout, and the name of the time zone they are meant in."""

    windows: tuple[FreezeWindow, ...] = ()
    timezone: str = "UTC"

    def at(self, now: float) -> Frozen | None:
        """The freeze that `now` (Unix seconds) is in. Windows that follow each other without a gap are one."""
        return _frozen(self, int(now // 60)) if self.windows else None

    def clock(self, at: float) -> str:
        """A time (Unix seconds) as an operator there reads it: `Mon 2026-11-30 08:00 Europe/Berlin`."""
        return f"{datetime.fromtimestamp(at, _zone(self.timezone)):%a %Y-%m-%d %H:%M} {self.timezone}"


@lru_cache(maxsize=1024)
def _frozen(freeze: Freeze, minute: int) -> Frozen | None:
    """Remembered, since it is asked twice a second and all windows begin and end with a minute.

    It comes to an end because `fill_the_week` is refused.
    """
    zone, first, until = _zone(freeze.timezone), None, minute * 60.0
    while ending := [(end, window) for window in freeze.windows if (end := window.until(until, zone)) is not None]:
        until, window = max(ending, key=lambda pair: pair[0])
        first = first or window
    return Frozen(first.text, until) if first else None


def fill_the_week(windows: Iterable[FreezeWindow]) -> bool:
    """Whether those by week and by day leave no minute of the week free."""
    taken = {
        (start + minute) % _WEEK
        for window in windows
        if window.period
        for start in range(window.start, _WEEK, window.period)
        for minute in range(window.length)
    }
    return len(taken) == _WEEK


def parse_window(value: Any) -> FreezeWindow:
    if isinstance(value, FreezeWindow):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if found := _WEEKLY.fullmatch(text):
        start, end = (_DAYS.index(found[at]) * _DAY + _clock(found[at + 1]) for at in (1, 3))
        window = FreezeWindow(text, _WEEK, start % _WEEK, end % _WEEK)
    elif found := _DAILY.fullmatch(text):
        window = FreezeWindow(text, _DAY, _clock(found[1]) % _DAY, _clock(found[2]) % _DAY)
    elif found := _DATES.fullmatch(text):
        first, last = _date(found[1]), _date(found[2])
        window = FreezeWindow(text, 0, (first.toordinal() - 1) * _DAY, last.toordinal() * _DAY)
        if first > last:
            raise UnfitError("ends before it begins")
    else:
        raise UnfitError(_UNFIT)
    if window.start == window.end:
        raise UnfitError("ends where it begins")
    return window


def _clock(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def _date(text: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise UnfitError(f"names {text}, which is no date") from None
    if not 2000 <= found.year < 2100:
        raise UnfitError(f"names {text}, which is not of this century")
    return found


def _readings(minute: int, zone: ZoneInfo) -> tuple[float, float]:
    """The Unix seconds that the clock on the wall may mean (a minute since 0001-01-01): nearly always the same twice.

    Of a time that never comes, one reading is before and one after the moment when the clock is put forward.
    """
    wall = datetime(1, 1, 1, tzinfo=zone) + timedelta(minutes=minute)
    return wall.timestamp(), wall.replace(fold=1).timestamp()


@cache
def _zone(name: str) -> ZoneInfo:
    """Kept: ZoneInfo itself remembers eight of them, and reads the others from disk again."""
    return ZoneInfo(name)


def _check_zone(name: str) -> str:
    try:
        _zone(name)
    except (KeyError, ValueError, OSError):
        raise UnfitError(
            "is no time zone that this machine knows; write one such as Europe/Berlin, and install tzdata if it is one"
        ) from None
    return name


Window = Annotated[
    FreezeWindow,
    PlainValidator(parse_window),
    PlainSerializer(lambda window: window.text, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["Fri 16:00 - Mon 08:00", "2026-12-23 - 2027-01-02"]}),
]
TimeZone = Annotated[str, AfterValidator(_check_zone)]
