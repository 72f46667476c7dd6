"""The real clock. Tests have theirs in tests/fakes.py."""

import time


class SystemClock:
    """`proxy.model.clock.Clock` from the operating system."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
