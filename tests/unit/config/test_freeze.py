"""Freeze windows: what they may look like, and which moments they hold, on the nights when the clock is put too."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.freeze import Freeze, fill_the_week, parse_window
from proxy.config.units import UnfitError

BERLIN = "Europe/Berlin"
SPRING = "2026-03-29"
"""At 02:00 the clock in Berlin is put to 03:00."""
AUTUMN = "2026-10-25"
"""At 03:00 the clock in Berlin is put back to 02:00."""


def freeze(*windows: str, timezone: str = "UTC") -> Freeze:
    return Freeze(tuple(parse_window(window) for window in windows), timezone)


def moment(text: str, timezone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone), fold=fold).timestamp()


def until(frozen: Freeze, text: str, fold: int = 0) -> str | None:
    """When the freeze ends that a time of the clock on the wall there is in, in UTC."""
    found = frozen.at(moment(text, frozen.timezone, fold))
    return None if found is None else f"{datetime.fromtimestamp(found.until, UTC):%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Friday 16:00 - Mon 08:00", "is no window"),
        ("fri 16:00 - mon 08:00", "is no window"),
        ("Fri 16:00", "is no window"),
        ("Fri 16 - Mon 8", "is no window"),
        ("16:00 - 24:01", "is no window"),
        ("8:00 - 9:00", "is no window"),
        ("", "is no window"),
        (7, "is no window"),
        ("18:00 - 18:00", "ends where it begins"),
        ("00:00 - 24:00", "ends where it begins"),
        ("Mon 00:00 - Sun 24:00", "ends where it begins"),
        ("2026-12-23 - 2026-12-22", "ends before it begins"),
        ("2026-02-29 - 2026-03-01", "names 2026-02-29, which is no date"),
        ("9999-12-31 - 9999-12-31", "names 9999-12-31, which is not of this century"),
        ("0001-01-01 - 2026-01-01", "names 0001-01-01, which is not of this century"),
    ],
)
def test_what_is_no_window_is_refused(written: object, said: str) -> None:
    with pytest.raises(UnfitError, match=said):
        parse_window(written)


def test_a_window_is_shown_as_it_was_written() -> None:
    assert parse_window("  Fri 16:00-Mon 08:00 ").text == "Fri 16:00-Mon 08:00"


def test_a_window_of_the_week_goes_around_its_end() -> None:
    weekend = freeze("Fri 16:00 - Mon 08:00")
    assert until(weekend, "2026-11-27 15:59") is None  # a Friday
    assert until(weekend, "2026-11-27 16:00") == "2026-11-30 08:00"
    assert until(weekend, "2026-11-29 23:59") == "2026-11-30 08:00"
    assert until(weekend, "2026-11-30 00:00") == "2026-11-30 08:00"
    assert until(weekend, "2026-11-30 07:59:59.9") == "2026-11-30 08:00"
    assert until(weekend, "2026-11-30 08:00") is None


def test_a_window_of_the_day_goes_around_midnight() -> None:
    night = freeze("18:00 - 08:00")
    assert until(night, "2026-11-25 17:59") is None
    assert until(night, "2026-11-25 18:00") == "2026-11-26 08:00"
    assert until(night, "2026-11-26 07:59") == "2026-11-26 08:00"
    assert until(night, "2026-11-26 12:00") is None


def test_the_end_of_the_day_may_be_written_as_24() -> None:
    assert until(freeze("18:00 - 24:00"), "2026-11-25 23:59") == "2026-11-26 00:00"
    assert until(freeze("18:00 - 24:00"), "2026-11-26 00:00") is None
    assert until(freeze("Sat 00:00 - Sun 24:00"), "2026-11-29 23:59") == "2026-11-30 00:00"


def test_dates_are_held_to_the_end_of_the_last() -> None:
    holidays = freeze("2026-12-23 - 2027-01-02", timezone=BERLIN)
    assert until(holidays, "2026-12-22 23:59") is None
    assert until(holidays, "2026-12-23 00:00") == "2027-01-02 23:00"
    assert until(holidays, "2027-01-02 23:59") == "2027-01-02 23:00"
    assert until(holidays, "2027-01-03 00:00") is None
    assert until(freeze("2026-12-24 - 2026-12-24"), "2026-12-24 12:00") == "2026-12-25 00:00"


def test_windows_that_follow_each_other_are_one_freeze() -> None:
    both = freeze("Fri 16:00 - Sun 00:00", "00:00 - 06:00", "2026-11-29 - 2026-11-29")
    found = both.at(moment("2026-11-28 12:00"))
    assert found is not None
    assert (found.text, until(both, "2026-11-28 12:00")) == ("Fri 16:00 - Sun 00:00", "2026-11-30 06:00")


def test_no_windows_freeze_nothing() -> None:
    assert Freeze().at(moment("2026-11-28 12:00")) is None


def test_a_window_is_meant_in_its_time_zone() -> None:
    office = freeze("18:00 - 08:00", timezone="Asia/Kolkata")  # half an hour beside the full one
    assert until(office, "2026-11-25 18:00") == "2026-11-26 02:30"
    assert office.clock(moment("2026-11-26 02:30")) == "Thu 2026-11-26 08:00 Asia/Kolkata"


def test_a_night_on_which_the_clock_is_put_forward_is_an_hour_shorter() -> None:
    night = freeze("22:00 - 06:00", timezone=BERLIN)
    assert until(night, "2026-03-28 23:00") == f"{SPRING} 04:00"
    assert until(night, f"{SPRING} 05:59") == f"{SPRING} 04:00"
    assert until(night, f"{SPRING} 06:00") is None


def test_a_night_on_which_the_clock_is_put_back_is_an_hour_longer() -> None:
    night = freeze("22:00 - 06:00", timezone=BERLIN)
    assert until(night, "2026-10-24 23:00") == f"{AUTUMN} 05:00"
    assert until(night, f"{AUTUMN} 02:30", fold=1) == f"{AUTUMN} 05:00"
    assert until(night, f"{AUTUMN} 06:00") is None


def test_a_window_that_ends_in_the_hour_that_comes_twice_ends_the_second_time() -> None:
    night = freeze("18:00 - 02:30", timezone=BERLIN)
    for text, fold in (("02:15", 0), ("02:45", 0), ("02:15", 1)):
        assert until(night, f"{AUTUMN} {text}", fold) == f"{AUTUMN} 01:30", "the second 02:30 is 01:30 UTC"
    assert until(night, f"{AUTUMN} 02:30", fold=1) is None


def test_a_window_that_begins_in_the_hour_that_comes_twice_begins_the_first_time() -> None:
    day = freeze("02:30 - 08:00", timezone=BERLIN)
    assert until(day, f"{AUTUMN} 02:15") is None
    for text, fold in (("02:30", 0), ("02:15", 1), ("02:30", 1)):
        assert until(day, f"{AUTUMN} {text}", fold) == f"{AUTUMN} 07:00"


def test_a_window_that_ends_in_the_hour_that_never_comes_is_rather_longer() -> None:
    night = freeze("18:00 - 02:30", timezone=BERLIN)
    assert until(night, f"{SPRING} 01:59") == f"{SPRING} 01:30"
    assert until(night, f"{SPRING} 03:29") == f"{SPRING} 01:30"
    assert until(night, f"{SPRING} 03:30") is None


def test_a_window_within_the_hour_that_never_comes_is_held_all_the_same() -> None:
    assert until(freeze("02:10 - 02:50", timezone=BERLIN), f"{SPRING} 03:05") == f"{SPRING} 01:50"


@given(
    st.sampled_from(["Fri 16:00 - Mon 08:00", "18:00 - 02:30", "02:30 - 02:00", "2026-10-24 - 2026-10-26"]),
    st.floats(moment("2026-01-01"), moment("2027-01-01")),
)
def test_a_freeze_ends_when_it_says_and_holds_until_then(window: str, now: float) -> None:
    frozen = freeze(window, timezone=BERLIN)
    found = frozen.at(now)
    if found is None:
        return
    assert found.until > now
    assert frozen.at(found.until) is None
    halfway = frozen.at(now + (found.until - now) / 2)
    assert halfway is not None
    assert halfway.until == found.until


@pytest.mark.parametrize("day", [SPRING, AUTUMN])
def test_a_night_is_frozen_and_freed_once(day: str) -> None:
    """Whatever the clock on the wall does, a window has one beginning and one end."""
    start = moment(f"{day} 00:00", BERLIN)
    for window in ("02:10 - 02:40", "01:00 - 02:30", "02:30 - 04:00", "01:30 - 03:30"):
        frozen = freeze(window, timezone=BERLIN)
        held = [frozen.at(start + minute * 60) is not None for minute in range(7 * 60)]
        assert [before for before, after in pairwise(held) if before != after] == [False, True]


@pytest.mark.parametrize(
    ("windows", "filled"),
    [
        (["Mon 00:00 - Fri 00:00", "Thu 12:00 - Mon 00:00"], True),
        (["Mon 00:00 - Fri 00:00", "Fri 00:01 - Mon 00:00"], False),
        (["18:00 - 08:00", "08:00 - 18:00"], True),
        (["18:00 - 08:00", "Mon 08:00 - Sun 18:00"], True),
        (["2000-01-01 - 2099-12-31"], False),
        ([], False),
    ],
)
def test_windows_that_fill_the_week_are_known(windows: list[str], filled: bool) -> None:
    assert fill_the_week(parse_window(window) for window in windows) is filled
