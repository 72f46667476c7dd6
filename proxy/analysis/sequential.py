"""The guard's tests: is the agent worse than legacy now (`TwoArms`), or than a rate that is given (`OneArm`)? One
instance for failures, another for slowness.

Both take counts by blocks of time, keep some dozens of floats, and are valid under constant looking. `TwoArms` runs two
rules side by side, a slow one (`edetector`) that is exact, and a fast one (`twokeys`) that knows legacy's history.

What is not final yet is judged by `judge`: as if it was, and nothing of it stays.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from proxy.analysis import dumped
from proxy.analysis.block import NOTHING, Block
from proxy.analysis.cusum import DAY, MIN_REFERENCE, Cusum, alternatives
from proxy.analysis.edetector import EDetector
from proxy.analysis.twokeys import TwoKeys
from proxy.model.measures import USER_BAD_PER_MINUTE

ALPHA: Final = 0.001
"""Chance of a false alarm per day."""

BLAME: Final = 0.0001
"""Chance that a fault of both arms is attributed to the agent."""

MIN_BAD: Final = USER_BAD_PER_MINUTE + 1
"""Bad outcomes of the agent below which nothing fires: one user, in a minute, must not take it from all others."""

TICK: Final = 0.2


class Finding(NamedTuple):
    """What the test says now. `score` is the stronger rule's way to firing, 0 to 1 (1 where it fired).

    The rates are those of all requests since the start; where the fast rule fired, those of the stretch that it fired
    on. `agent` and `legacy` are how many requests that were. Against a given rate, `legacy_rate` is that rate, and
    `legacy` 0.
    """

    fired: bool
    rule: str
    score: float
    agent_rate: float
    legacy_rate: float
    agent: int
    legacy: int

    @property
    def reason(self) -> str:
        against = "that are allowed" if self.rule == OneArm.RULE else f"of {self.legacy} legacy requests"
        return (
            f"{self.agent_rate:.2%} of {self.agent} agent requests against {self.legacy_rate:.2%} {against}"
            f" ({self.rule} rule)"
        )


class TwoArms:
    """The agent against legacy, over one kind of bad outcome. Feed it every tick; once fired, it stays fired.

    `margin` is how much worse the agent may be (0 to 1), `alpha` the chance of a false alarm per `horizon` seconds,
    `blame` the chance that a fault of both arms is attributed to the agent, `tick` the usual seconds between steps.
    """

    __slots__ = ("_closed", "_fast", "_fired", "_slow", "_waiting", "margin")

    def __init__(
        self, margin: float, *, alpha: float = ALPHA, blame: float = BLAME, tick: float = TICK, horizon: float = DAY
    ) -> None:
        self.margin = margin
        self._slow = EDetector(margin, 2 / alpha, horizon)
        self._fast = TwoKeys(margin, alpha, blame, tick)
        self._fired: Finding | None = None
        self._waiting = self._closed = NOTHING

    def restart(self) -> None:
        """Back to the start, but for legacy's history."""
        self._fast.legacy.learn(self._waiting)
        self._slow.restart()
        self._fast.cusum.restart()
        self._fired = None
        self._waiting = self._closed = NOTHING

    def step(self, elapsed: float, agent: int, agent_bad: int, legacy: int, legacy_bad: int) -> Finding:
        """Add what arrived in the last `elapsed` seconds: requests and bad ones of each arm, of all workers together.

        Counts wait until both arms were seen: a block closes only then.
        """
        self.add(Block(elapsed, agent, agent_bad, legacy, legacy_bad))
        return self.finding()

    def add(self, block: Block) -> None:
        """As `step`, without asking what the test says."""
        if self._waiting is not NOTHING:
            block = self._waiting.plus(block)
        if block.agent <= 0 or block.legacy <= 0:
            self._waiting = block
            return
        before = self._closed
        self._closed, self._waiting = before.plus(block), NOTHING
        slow, fast = self._slow.close(block), self._fast.close(block, before)
        if self._fired is None and self._closed.agent_bad >= MIN_BAD and (slow or fast >= 0):
            stretch = self._closed.since(self._fast.cusum.since[fast]) if fast >= 0 else self._closed
            self._fired = _finding(stretch, fired=True, rule="fast" if fast >= 0 else "slow", score=1.0)

    def judge(self, tail: Sequence[Block]) -> Finding:
        """What the test would say if `tail` was added; nothing of it stays.

        Where that could not fire, what it says without: most of the time there is nothing in a tail to blame the agent
        for. (Bad outcomes at a time when legacy has more are left to `add`.)
        """
        if self._fired is not None or not self._may_fire(tail):
            return self.finding()
        kept = self._waiting, self._closed, self._slow.keep(), self._fast.keep()
        for block in tail:
            self.add(block)
        finding = self.finding()
        self._fired = None
        self._waiting, self._closed, slow, fast = kept
        self._slow.back(slow)
        self._fast.back(fast)
        return finding

    def _may_fire(self, tail: Sequence[Block]) -> bool:
        waiting = self._waiting
        elapsed, legacy, bad = waiting.elapsed, waiting.legacy, waiting.agent_bad
        for block in tail:
            elapsed += block.elapsed
            legacy += block.legacy
            if block.agent_bad * block.legacy > block.legacy_bad * block.agent or not block.legacy:
                bad += block.agent_bad
        return bad > 0 and (self._slow.may_fire(elapsed, bad) or self._fast.may_fire(legacy, bad))

    def finding(self) -> Finding:
        """What the test says now."""
        if self._fired is not None:
            return self._fired
        slow, fast = self._slow.score(), self._fast.score()
        seen = self._closed.plus(self._waiting)
        return _finding(seen, fired=False, rule="fast" if fast > slow else "slow", score=max(slow, fast))

    @property
    def rate(self) -> float | None:
        """Legacy's recent rate of bad outcomes; None where too little was seen of it."""
        legacy = self._fast.legacy
        return legacy.rate if legacy.known else None

    @property
    def reference(self) -> float | None:
        """What the fast rule holds the agent against as long as legacy does as usual: legacy's rate, the margin and
        what is unsure about it."""
        legacy = self._fast.legacy
        return legacy.reference(legacy.rate) if legacy.known else None

    def dump(self) -> list[object]:
        """What it knows, as plain numbers in lists, for JSON."""
        fired = list(self._fired) if self._fired is not None else []
        return [fired, list(self._waiting), list(self._closed), self._slow.dump(), self._fast.dump()]

    def restore(self, data: object, *, history_only: bool = False) -> None:
        """Go on from what `dump` gave. Raises ValueError on anything else; then this test is of no more use.

        `history_only`: with nothing but legacy's history, where the limits were others when it was dumped.
        """
        fired, waiting, seen, slow, fast = dumped.items(data, 5)
        self._fast.restore(fast, history_only=history_only)
        if history_only:
            return
        self._fired, self._closed, block = _finding_of(fired), dumped.block(seen), dumped.block(waiting)
        self._waiting = block if any(block) else NOTHING
        self._slow.restore(slow)


class OneArm:
    """The agent against a rate that is given: legacy's when there last was any, or an objective. The fast rule's CUSUM
    with its first key only: whatever makes the agent bad is blamed on it.

    Feed it as `TwoArms`; what legacy does is of no account.
    """

    RULE: Final = "one-arm"

    __slots__ = ("_closed", "_cusum", "_fired", "_waiting", "reference")

    def __init__(self, reference: float, *, alpha: float = ALPHA, tick: float = TICK) -> None:
        """`reference`: the rate of bad outcomes that is normal, 0 to 1, all margins included."""
        self.reference = max(reference, MIN_REFERENCE)
        self._cusum = Cusum(alpha, tick)
        self._fired: Finding | None = None
        self._waiting = self._closed = NOTHING

    def restart(self) -> None:
        self._cusum.restart()
        self._fired = None
        self._waiting = self._closed = NOTHING

    def step(self, elapsed: float, agent: int, agent_bad: int) -> Finding:
        self.add(Block(elapsed, agent, agent_bad))
        return self.finding()

    def add(self, block: Block) -> None:
        block = self._waiting.plus(block)
        if block.agent <= 0:
            self._waiting = block
            return
        before = self._closed
        self._closed, self._waiting = before.plus(block), NOTHING
        if not self._cusum.look(block):
            return
        least = self._cusum.threshold
        for index, th in enumerate(alternatives(self.reference)):
            now = self._cusum.add(index, th, self.reference, block, before)
            if now >= least and self._fired is None and self._closed.agent_bad >= MIN_BAD:
                stretch = self._closed.since(self._cusum.since[index])
                self._fired = self._say(stretch, fired=True, score=1.0)

    def judge(self, tail: Sequence[Block]) -> Finding:
        """As `TwoArms.judge`."""
        if self._fired is not None or not any(block.agent_bad for block in tail):
            return self.finding()
        kept = self._waiting, self._closed, self._cusum.keep()
        for block in tail:
            self.add(block)
        finding = self.finding()
        self._fired = None
        self._waiting, self._closed, cusum = kept
        self._cusum.back(cusum)
        return finding

    def finding(self) -> Finding:
        if self._fired is not None:
            return self._fired
        return self._say(self._closed, fired=False, score=min(1.0, max(self._cusum.sums) / self._cusum.threshold))

    def dump(self) -> list[object]:
        fired = list(self._fired) if self._fired is not None else []
        return [self.reference, fired, list(self._waiting), list(self._closed), self._cusum.dump()]

    def restore(self, data: object) -> None:
        """Go on from what `dump` gave, its reference included. Raises ValueError on anything else; then this test is of
        no more use."""
        reference, fired, waiting, seen, cusum = dumped.items(data, 5)
        self.reference = max(*dumped.numbers([reference], 1), MIN_REFERENCE)
        self._fired, self._waiting, self._closed = _finding_of(fired), dumped.block(waiting), dumped.block(seen)
        self._cusum.restore(cusum)

    def _say(self, seen: Block, *, fired: bool, score: float) -> Finding:
        rate = seen.agent_bad / seen.agent if seen.agent else 0.0
        return Finding(fired, self.RULE, score, rate, self.reference, seen.agent, 0)


def _finding(seen: Block, *, fired: bool, rule: str, score: float) -> Finding:
    return Finding(
        fired,
        rule,
        score,
        agent_rate=seen.agent_bad / seen.agent if seen.agent else 0.0,
        legacy_rate=seen.legacy_bad / seen.legacy if seen.legacy else 0.0,
        agent=seen.agent,
        legacy=seen.legacy,
    )


def _finding_of(data: object) -> Finding | None:
    """What `dump` gave for a finding; none for an empty list."""
    if data == []:
        return None
    fired, rule, *rest = dumped.items(data, len(Finding._fields))
    score, agent_rate, legacy_rate, agent, legacy = dumped.numbers(rest, 5)
    if fired is not True or not isinstance(rule, str):
        raise ValueError("it is no finding that fired")
    return Finding(True, rule, score, agent_rate, legacy_rate, int(agent), int(legacy))
