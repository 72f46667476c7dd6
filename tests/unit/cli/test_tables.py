"""What tables are made of."""

from datetime import UTC, datetime

import pytest

from proxy.cli import tables

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "text"),
    [
        ("2026-11-22T09:29:55.500Z", "4s"),
        ("2026-11-22T09:28:55Z", "1m 5s"),
        ("2026-11-22T10:25:00+01:00", "5m"),
        ("2026-11-20T07:30:00Z", "2d 2h"),
        ("2026-11-22T09:30:05Z", "0s"),  # another machine's clock is ahead
    ],
)
def test_how_long_ago(since: str, text: str) -> None:
    assert tables.age(since, NOW) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1_234, "1.2k"), (35_999, "35k"), (1_250_000, "1.2M"), (12 * 10**9, "12,000M")],
)
def test_a_count_in_a_narrow_column(count: int, text: str) -> None:
    assert tables.compact(count) == text
