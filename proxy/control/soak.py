"""Which of the time that passes is soak: only what we saw pass, as the one who decides, while the agent had requests.

Durations come from the monotonic clock alone; a step of the clock on the wall changes none.
"""

from typing import Final

from proxy.model.clock import Clock
from proxy.model.rollouts import RolloutState

MAX_ELAPSED: Final = 5.0
"""Seconds that one look may add: after a longer pause (a stopped process) nobody was looking."""
QUIET: Final = 300.0
"""Seconds without a request to the agent after which no more time counts."""


class Soak:
    """The time between looks at one rollout."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looked: float | None = None
        self._stage: tuple[str, int, str] | None = None
        self._requests = 0
        self._busy: float | None = None

    def look(self, state: RolloutState, requests: int) -> float:
        """The seconds of soak since the last look. `requests` are all that the agent had at this stage."""
        now, stage = self._clock.monotonic(), (state.version, state.epoch, state.stage_name)
        last, self._looked = self._looked, now
        if stage != self._stage:
            # What a process finds when it begins was there before; a stage that begins has its first one yet to come.
            self._requests = requests if self._stage is None else 0
            self._stage, self._busy = stage, None
        if requests > self._requests:
            self._requests, self._busy = requests, now
        if last is None or self._busy is None or now - self._busy >= QUIET:
            return 0.0
        return min(now - last, MAX_ELAPSED)

    def interrupt(self) -> None:
        """Nobody looks, or somebody else decides: the time until the next look is no soak."""
        self._looked = None
