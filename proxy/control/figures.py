"""A rollout's evidence as metrics."""

from proxy.analysis.agreement import lower_bound
from proxy.analysis.ratio import log_evidence
from proxy.model.rollouts import Evidence, RolloutState, Users
from proxy.model.snapshot import BUCKETS
from proxy.rollout.shares import ALPHA
from proxy.telemetry.metrics import Metrics


def show(metrics: Metrics, state: RolloutState, evidence: Evidence, users: Users) -> None:
    """What of it is a metric."""
    compared, seen = evidence.matched + evidence.mismatched, users.agent + users.legacy
    metrics.set_agreement(
        state.route,
        evidence.matched / compared if compared else None,
        lower_bound(evidence.matched, evidence.mismatched, ALPHA) if compared else None,
    )
    split = 0 < state.weight < BUCKETS and seen > 0
    metrics.set_split(
        state.route,
        1 - min(evidence.no_key, evidence.drawn) / evidence.drawn if evidence.drawn else None,
        log_evidence(users.agent, seen, state.weight / BUCKETS) if split else None,
    )
