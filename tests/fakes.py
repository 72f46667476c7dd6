"""What tests stand in for the world: one clock that is turned by hand. (Upstreams are in tests/integration.)"""


class FakeClock:
    """`proxy.model.clock.Clock` that stands still until it is told to move. `wall` is by how much
    the time of the day differs from the time since the start."""

    def __init__(self, start: float = 1_800_000_000.0, wall: float = 0.0) -> None:
        self.time, self.wall = start, wall

    def now(self) -> float:
        return self.time + self.wall

    def monotonic(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds

    def put(self, seconds: float) -> None:
        """Somebody puts the clock on the wall forward, or back."""
        self.wall += seconds
