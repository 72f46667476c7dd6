"""The real clock (tests have theirs in tests/fakes.py), and how times are written."""

import time
from datetime import UTC, datetime


class SystemClock:
    """`proxy.model.clock.Clock` from the operating system."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def rfc3339(at: float) -> str:
    """Unix seconds as RFC 3339 in UTC with milliseconds, such as `2026-11-22T08:00:00.123Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
