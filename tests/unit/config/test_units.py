"""Durations, sizes, shares, percentages and whole numbers: as written, in Python, and written again."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import units
from proxy.config.units import (
    UnfitError,
    format_duration,
    format_percent,
    format_share,
    format_size,
    parse_duration,
    parse_percent,
    parse_share,
    parse_size,
    parse_whole,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5), ("9ms", 0.009), ("1.5s", 1.5), ("20m", 1200.0), ("24h", 86400.0), ("7d", 604800.0),
        ("1h30m", 5400.0), ("1m0.5s", 60.5), ("0s", 0.0), (0, 0.0), ("0", 0.0), ("3650d", 315360000.0),
    ],
)  # fmt: skip
def test_durations(written: Any, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [5, 1.5, 0.0, "5", "", "s", "5 s", " 5s", "5s ", "-5s", "+5s", "5S", "5sec", "1.s", ".5s", "5s,", "1e3s",
     "٣s", "5s\n", "9" * 13 + "s", True, False, None, [], {}],
)  # fmt: skip
def test_what_is_no_duration(written: Any) -> None:
    with pytest.raises(UnfitError, match="is no duration; write a number with its unit, such as 500ms"):
        parse_duration(written)


def test_a_duration_of_more_than_ten_years_is_a_slip() -> None:
    with pytest.raises(UnfitError, match="is longer than 3650d"):
        parse_duration("3651d")


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.0, "0s"), (0.5, "500ms"), (0.0005, "0.5ms"), (1.0, "1s"), (90.0, "90s"), (60.0, "1m"), (86400.0, "1d")],
)
def test_a_duration_is_written_in_its_largest_whole_unit(seconds: float, written: str) -> None:
    assert format_duration(seconds) == written


@given(st.integers(0, 10**9).map(lambda micros: micros / 1e6))
def test_durations_come_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [("512B", 512), ("64KiB", 65536), ("1MiB", 1 << 20), ("2GiB", 2 << 30), (0, 0), ("0", 0), ("1024GiB", 1 << 40)],
)
def test_sizes(written: Any, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", [1024, "1024", "1.5MiB", "1 MiB", "1MB", "1kib", "1M", "-1B", "", True, None, []])
def test_what_is_no_size(written: Any) -> None:
    with pytest.raises(UnfitError, match="is no size; write a whole number with its unit, such as 512B"):
        parse_size(written)


def test_a_size_is_bounded() -> None:
    with pytest.raises(UnfitError, match="is larger than 1024GiB"):
        parse_size("1025GiB")


@given(st.integers(0, units.MAX_SIZE))
def test_sizes_come_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("written", "share"),
    [("0.2%", 0.002), ("95%", 0.95), ("95 %", 0.95), ("100%", 1.0), ("0%", 0.0), (0, 0.0), ("99.99%", 0.9999)],
)
def test_shares(written: Any, share: float) -> None:
    assert parse_share(written) == share


@pytest.mark.parametrize(
    "written", [95, 0.95, "95", "101%", "100.1%", "-1%", "1.%", "%", "", "0.2 percent", True, None]
)
def test_what_is_no_share(written: Any) -> None:
    with pytest.raises(UnfitError, match="is no share; write 0 to 100 percent with the sign"):
        parse_share(written)


@given(st.integers(0, 10**6).map(lambda millionths: millionths / 1e6))
def test_shares_come_back(share: float) -> None:
    assert parse_share(format_share(share)) == share


@pytest.mark.parametrize(
    ("written", "thousandths"),
    [
        (0, 0),
        (5, 5000),
        (100, 100_000),
        (0.125, 125),
        (0.001, 1),
        (5.0, 5000),
        ("5", 5000),
        ("0.125", 125),
        (1e-3, 1),
        ("5%", 5000),
        ("0.125 %", 125),
        ("100%", 100_000),
    ],
)
def test_percentages(written: Any, thousandths: int) -> None:
    assert parse_percent(written) == thousandths


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (120, "is not between 0 and 100 percent"),
        (100.001, "is not between 0 and 100 percent"),
        (-1, "is not between 0 and 100 percent"),
        (1e300, "is not between 0 and 100 percent"),
        (0.0005, "is finer than the smallest step, 0.001 percent"),
        (1e-300, "is not between 0 and 100 percent"),
        ("101%", "is not between 0 and 100 percent"),
        ("5 percent", "is no percentage; write a number"),
        ("%", "is no percentage; write a number"),
        (float("nan"), "is no percentage; write a number"),
        (float("inf"), "is no percentage; write a number"),
        (True, "is no percentage; write a number"),
        (None, "is no percentage; write a number"),
    ],
)
def test_what_is_no_percentage(written: Any, sentence: str) -> None:
    with pytest.raises(UnfitError, match=sentence):
        parse_percent(written)


@given(st.integers(0, 100_000))
def test_percentages_come_back(thousandths: int) -> None:
    assert parse_percent(format_percent(thousandths)) == thousandths
    assert parse_percent(str(format_percent(thousandths))) == thousandths


@pytest.mark.parametrize(("written", "number"), [(4, 4), ("4", 4), (-1, -1), ("0", 0)])
def test_whole_numbers(written: Any, number: int) -> None:
    assert parse_whole(written) == number


@pytest.mark.parametrize("written", [True, False, 0.5, 4.0, "4.0", "four", "", None, [], "9" * 19])
def test_what_is_no_whole_number(written: Any) -> None:
    with pytest.raises(UnfitError, match="is no whole number"):
        parse_whole(written)
