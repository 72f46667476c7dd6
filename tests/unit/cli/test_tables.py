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
