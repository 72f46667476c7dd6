"""When a rollout stands still by the calendar: windows by week, by day or by dates, in a named time zone."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, PlainSerializer, PlainValidator, WithJsonSchema

from proxy.config.units import UnfitError

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
_CLOCK: Final = r"([01]\d|2[0-3]):([0-5]\d)"
_WEEKLY: Final = re.compile(rf"({'|'.join(_DAYS)}) {_CLOCK} *- *({'|'.join(_DAYS)}) {_CLOCK}")
_DAILY: Final = re.compile(rf"{_CLOCK} *- *{_CLOCK}")
_DATES: Final = re.compile(r"(\d{4}-\d\d-\d\d) *- *(\d{4}-\d\d-\d\d)")
_UNFIT: Final = (
    "is no window; write days and times (Fri 16:00 - Mon 08:00), times of each day (18:00 - 08:00) or dates"
    " (2026-12-23 - 2027-01-02)"
)


@dataclass(frozen=True, slots=True)
class FreezeWindow:
    """From `start` until before `end`, in minutes: of the week or the day where there is a `period`, which may wrap
    around, else since 0001-01-01. `text` is how it was written."""

    text: str
    period: int
    start: int
    end: int

    def until(self, local: datetime) -> datetime | None:
        """When the window ends that `local`, a time of the clock on the wall, is in; None where it is in none."""
        place = (local.toordinal() - 1) * _DAY + local.hour * 60 + local.minute  # 0001-01-01 was a Monday
        if self.period:
            place %= self.period
            within = self.start <= place < self.end or (
                self.start > self.end and (place >= self.start or place < self.end)
            )
            left = (self.end - place) % self.period
        else:
            within, left = self.start <= place < self.end, self.end - place
        return local.replace(second=0, microsecond=0) + timedelta(minutes=left) if within else None


def parse_window(value: Any) -> FreezeWindow:
    if isinstance(value, FreezeWindow):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if found := _WEEKLY.fullmatch(text):
        start, end = (_DAYS.index(found[at]) * _DAY + int(found[at + 1]) * 60 + int(found[at + 2]) for at in (1, 4))
        window = FreezeWindow(text, _WEEK, start, end)
    elif found := _DAILY.fullmatch(text):
        window = FreezeWindow(text, _DAY, *(int(found[at]) * 60 + int(found[at + 1]) for at in (1, 3)))
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


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UnfitError(f"names {text}, which is no date") from None


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
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
