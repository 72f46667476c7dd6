"""What tests stand in for the world: one clock that is turned by hand. (Upstreams are in tests/integration.)"""


class FakeClock:
    """`proxy.model.clock.Clock` that stands still until it is told to move."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.time = start

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds
