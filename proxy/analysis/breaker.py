"""The breaker: a worker's own, instant judgement of the agent. It needs no peer, no history and no clock.

A one-sided CUSUM (Page 1954) per alternative th in (0.4, 0.95), fed with every agent outcome:
`C <- max(0, C + log(th/ref))` for a bad one, `C <- max(0, C + log((1-th)/(1-ref)))` for a good one, against
`ref = max(reference, 5 %)`. It trips at `C >= log(5 * 86400 / tick / alpha)`: a false trip about once in 1/alpha days
of ticks, even if the agent failed at the reference rate all the time (Lorden 1971). A total outage trips it at the
eighth request. Connect failures in a row, with no success between, trip it by themselves.
"""

from math import log
from typing import Final

FLOOR: Final = 0.05
"""Below this error rate the breaker never calls an agent bad: that is the sequential tests' work."""

HALF: Final = 0.4
TOTAL: Final = 0.95
HEADROOM: Final = 3.0
_DAY: Final = 86_400.0
_HYPOTHESES: Final = 5


class Breaker:
    """One per rollout, epoch and worker. `record` says, as a sentence, why it would trip. Whoever asks looks whose
    fault it is (`blame`), and then sets `tripped`, for good. `since` is the slot in which the first bad one arrived of
    those that count now, `reference` the share of bad ones that is normal."""

    __slots__ = ("_bad", "_connect", "_down_half", "_down_total", "_half", "_max_connect", "_seen", "_threshold",
                 "_total", "_up_half", "_up_total", "reference", "since", "tripped")  # fmt: skip

    def __init__(
        self, reference: float = FLOOR, *, connect_failures: int = 10, tick: float = 0.2, alpha: float = 0.001
    ) -> None:
        """`reference`: the error rate that is normal here (0 to 1). `tick`: seconds. `alpha`: false trips per day."""
        self.tripped = False
        self._threshold = log(_HYPOTHESES * _DAY / tick / alpha)
        self._up_half = self._down_half = self._up_total = self._down_total = self.reference = 0.0
        self.refer(reference)
        self._half = self._total = 0.0
        self._max_connect = connect_failures
        self._connect = self.since = 0
        self._seen = self._bad = 0  # since both sums were last 0: the numbers of the reason

    def refer(self, reference: float) -> None:
        """From now on `reference` is the error rate that is normal."""
        self.reference = ref = min(max(reference, FLOOR), 0.99)
        self._up_half, self._down_half = _weights(HALF, ref)
        self._up_total, self._down_total = _weights(TOTAL, ref)

    @property
    def unreachable(self) -> bool:
        """The agent has not let us connect so many times in a row that it takes no statistics."""
        return self._connect >= self._max_connect

    @property
    def over(self) -> bool:
        """What counts against the agent would trip it."""
        return self.unreachable or self._half >= self._threshold or self._total >= self._threshold

    @property
    def suspected(self) -> float:
        """The share of bad ones that the agent is taken to have now: the likelier alternative."""
        return TOTAL if self._total >= self._half else HALF

    def record(self, bad: bool, connect_failure: bool = False, slot: int = 0) -> str | None:
        """Count one agent outcome, of a request that arrived in `slot`. The reason where it would trip the breaker,
        otherwise None."""
        if not bad:
            self._connect = 0
            if self._bad:
                self._good()
            return None
        if self.tripped:
            return None
        self.since = min(slot, self.since) if self._bad else slot
        self._seen += 1
        self._bad += 1
        # Capped, so that what was not the agent's fault is soon forgotten.
        self._half = min(self._half + self._up_half, self._threshold + HEADROOM)
        self._total = min(self._total + self._up_total, self._threshold + HEADROOM)
        self._connect += connect_failure
        if self.unreachable:
            return f"{self._connect} connect failures of the agent in a row"
        if self._half >= self._threshold or self._total >= self._threshold:
            return f"{self._bad} of the agent's last {self._seen} requests failed"
        return None

    def _good(self) -> None:
        self._seen += 1
        half, total = self._half + self._down_half, self._total + self._down_total
        self._half = half = half if half > 0 else 0.0
        self._total = total = total if total > 0 else 0.0
        if not (half or total):
            self._seen = self._bad = 0


def _weights(alternative: float, reference: float) -> tuple[float, float]:
    """What a bad and a good outcome add. An alternative that is no worse than 1.2 times the reference bets nothing."""
    if alternative < 1.2 * reference:
        return 0.0, 0.0
    return log(alternative / reference), log((1 - alternative) / (1 - reference))
