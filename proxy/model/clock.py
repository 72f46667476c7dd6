"""The port through which time comes in, so that tests and simulations can turn it."""

from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds: for what is written down."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step back: for durations and deadlines."""
        ...
