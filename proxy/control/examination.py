"""What was seen of one rollout at its present stage, and what the gates say of it.

Every replica looks, so that each can show it; what follows from it is up to the lease holder alone.
"""

from typing import NamedTuple

from proxy.analysis.agreement import lower_bound
from proxy.analysis.ratio import log_evidence
from proxy.control.soak import Soak
from proxy.model.clock import Clock
from proxy.model.ports import RolloutStore
from proxy.model.rollouts import Evidence, GateResult, RolloutState, Users
from proxy.model.snapshot import BUCKETS
from proxy.rollout.advance import Step, advance
from proxy.rollout.gates import evaluate
from proxy.rollout.plan import Plan
from proxy.rollout.shares import ALPHA
from proxy.telemetry.families import CONSISTENCY
from proxy.telemetry.metrics import Metrics


class Seen(NamedTuple):
    evidence: Evidence
    users: Users


class Examination:
    def __init__(self, store: RolloutStore, metrics: Metrics, clock: Clock) -> None:
        self.evidence, self.users = Evidence(), Users()
        self.gates: tuple[GateResult, ...] = ()
        self._store, self._metrics, self._clock, self._soak = store, metrics, clock, Soak(clock)

    async def see(self, state: RolloutState) -> Seen:
        """All that was seen at this stage. Raises StoreError."""
        place = (state.route, state.version, state.epoch, state.stage_name)
        return Seen(await self._store.evidence(*place), await self._store.users(*place, state.weight))

    def judge(self, plan: Plan, state: RolloutState, seen: Seen, *, leads: bool) -> Step | None:
        """Ask the gates. The step that follows, where that is up to us."""
        self.evidence, self.users = seen
        _show(self._metrics, state, *seen)
        elapsed, now = self._soak.look(state, self.evidence.agent.requests), self._clock.now()
        if leads:
            step = advance(plan, state, *seen, elapsed, now)
            self.gates = step.gates
            return step
        self._soak.interrupt()
        self.gates = evaluate(plan, state, *seen, now)
        return None

    def ask(self, plan: Plan, state: RolloutState) -> tuple[GateResult, ...]:
        """The gates as they stand now, by what was seen last; nothing yet, at a stage that has just begun."""
        return evaluate(plan, state, self.evidence, self.users, self._clock.now())

    def interrupt(self) -> None:
        """Nothing could be seen: the time until the next look is no soak."""
        self._soak.interrupt()

    def forget(self) -> None:
        """Another stage begins."""
        self.evidence, self.users, self.gates = Evidence(), Users(), ()


def _show(metrics: Metrics, state: RolloutState, evidence: Evidence, users: Users) -> None:
    """What of it is a metric."""
    compared, seen = evidence.matched + evidence.mismatched, users.agent + users.legacy
    metrics.set_agreement(
        state.route,
        evidence.matched / compared if compared else None,
        lower_bound(evidence.matched, evidence.mismatched, ALPHA) if compared else None,
    )
    repeats = evidence.repeats
    metrics.set(CONSISTENCY, state.route, value=evidence.repeats_alike / repeats if repeats else None)
    split = 0 < state.weight < BUCKETS and seen > 0
    metrics.set_split(
        state.route,
        1 - min(evidence.no_key, evidence.drawn) / evidence.drawn if evidence.drawn else None,
        log_evidence(users.agent, seen, state.weight / BUCKETS) if split else None,
    )
