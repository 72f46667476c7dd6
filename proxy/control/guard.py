"""The guard of one rollout while the agent serves: the sequential tests of `proxy.analysis.sequential`, fed with what
all workers reported together. A failed verdict takes the traffic from the agent; an inconclusive one does nothing.
"""

from collections.abc import Mapping
from typing import Final

from proxy.analysis.sequential import Finding, TwoArms
from proxy.config.rollout_schema import Rollout
from proxy.model.measures import OUTCOMES
from proxy.model.rollouts import GateResult, RolloutState
from proxy.model.tick import Labels, Tick
from proxy.model.words import Arm, Verdict

ERROR_RATE: Final = "error_rate"
LATENCY: Final = "latency"

Key = tuple[str, str, int]
"""(route, version, epoch): what one guard's counts belong to."""


class Arrivals:
    """Outcomes that came in since they were last taken, by rollout, arm and result.

    Only rollouts that were asked for are kept (`watch`), so what workers send cannot make it grow.
    """

    def __init__(self) -> None:
        self._counts: dict[Key, dict[tuple[str, str], int]] = {}

    def watch(self, keys: set[Key]) -> None:
        self._counts = {key: self._counts.get(key, {}) for key in keys}

    def add(self, tick: Tick) -> None:
        for labels, count in tick.counters.get(OUTCOMES.name, {}).items():
            key, what = _split(labels)
            table = self._counts.get(key)
            if table is not None:
                table[what] = table.get(what, 0) + count

    def take(self, key: Key) -> Mapping[tuple[str, str], int]:
        """By (arm, result)."""
        table = self._counts.get(key, {})
        if key in self._counts:
            self._counts[key] = {}
        return table


def _split(labels: Labels) -> tuple[Key, tuple[str, str]]:
    route, version, _stage, epoch, arm, result = labels
    return (route, version, int(epoch)), (arm, result)


class Guard:
    """The tests of one epoch. A later epoch gets a new one, since it knows nothing of earlier faults."""

    def __init__(self, rollout: Rollout, state: RolloutState, tick: float) -> None:
        self.key: Key = (state.route, state.version, state.epoch)
        self._limits = (rollout.guard.error_rate.margin, rollout.guard.latency)
        self._errors = TwoArms(rollout.guard.error_rate.margin, tick=tick)
        latency = rollout.guard.latency
        self._slow = TwoArms(latency.margin, tick=tick) if latency is not None else None

    def fits(self, rollout: Rollout, state: RolloutState) -> bool:
        """Whether it is still the guard for this state under this configuration."""
        limits = (rollout.guard.error_rate.margin, rollout.guard.latency)
        return self.key == (state.route, state.version, state.epoch) and self._limits == limits

    def step(self, elapsed: float, counts: Mapping[tuple[str, str], int]) -> tuple[GateResult, ...]:
        """Add what came in within `elapsed` seconds, and say what the tests say now."""
        ok, failed, slow = ({arm: counts.get((arm, result), 0) for arm in Arm} for result in ("ok", "failed", "slow"))
        agent, legacy = ok[Arm.AGENT] + failed[Arm.AGENT], ok[Arm.LEGACY] + failed[Arm.LEGACY]
        finding = self._errors.step(elapsed, agent, failed[Arm.AGENT], legacy, failed[Arm.LEGACY])
        results = [_result(ERROR_RATE, self._errors, finding)]
        if self._slow is not None:
            finding = self._slow.step(elapsed, agent, slow[Arm.AGENT], legacy, slow[Arm.LEGACY])
            results.append(_result(LATENCY, self._slow, finding))
        return tuple(results)


def _result(name: str, test: TwoArms, finding: Finding) -> GateResult:
    """`value` is the agent's rate, `threshold` the one it may have, `bound` how near the test is to rolling back (0 to
    1). Never passed: a guard cannot show that all is well, only that it is not."""
    verdict = Verdict.FAILED if finding.fired else Verdict.INCONCLUSIVE
    threshold = finding.legacy_rate + test.margin
    return GateResult(name, verdict, finding.agent_rate, finding.score, threshold, finding.agent, finding.reason)
