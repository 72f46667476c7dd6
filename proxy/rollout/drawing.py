"""Is the experiment sound: can requests be split by user, and is the split the one that was asked for?

These gates hold a rollout and never fail: what they find is no fault of the agent, and no reason to roll it back. It is
a reason not to believe the comparison of the arms, so nothing moves on by it until somebody has looked.
"""

from proxy.analysis import ratio
from proxy.config.gates_schema import Floor, SampleRatio
from proxy.model.rollouts import Evidence, GateResult, RolloutState, Users
from proxy.model.snapshot import BUCKETS
from proxy.model.words import Verdict
from proxy.rollout.shares import at_least, to_go


def key_coverage(floor: Floor | None, evidence: Evidence) -> GateResult:
    """Passed where surely at least the floor of all requests carry a key; without a floor it is a report."""
    without = min(evidence.no_key, evidence.drawn)
    least = floor.min if floor is not None else 0.0
    verdict, value, bound, samples = at_least(evidence.drawn - without, without, least, 0)
    dry_run = floor is None or floor.dry_run or least <= 0
    threshold = least if floor is not None else None
    if value is None:
        return GateResult("key_coverage", verdict, None, None, threshold, 0, "no requests yet", dry_run)
    seen = f"{value:.2%} of {samples} requests carry a key"
    if least <= 0:
        reason = f"{seen}; nothing is asked of it"
    elif verdict is Verdict.PASSED:
        reason = f"{seen}, surely at least {least:.2%}"
    elif verdict is Verdict.FAILED:
        verdict, reason = Verdict.INCONCLUSIVE, f"{seen}, surely fewer than {least:.2%}: see where rollout.key looks"
    else:
        more = to_go(samples - without, without, least, "requests")
        reason = f"{seen}, surely {bound:.2%}; at least {least:.2%} must be sure{more}"
    return GateResult("key_coverage", verdict, value, bound, threshold, samples, reason, dry_run)


def sample_ratio(asked: SampleRatio, state: RolloutState, users: Users) -> GateResult | None:
    """Of the different users seen, those with the agent, against the weight. None where all users are to be in one arm.

    Passed while nothing speaks against the split: this looks for a fault, and a right one cannot be proved.
    """
    if not 0 < state.weight < BUCKETS:
        return None
    expected, total = state.weight / BUCKETS, users.agent + users.legacy
    value = users.agent / total if total else None
    seen = f"{users.agent} of {total} users are with the agent, {value or 0:.2%}"
    if value is None:
        verdict, reason = Verdict.INCONCLUSIVE, "no users yet"
    elif ratio.log_evidence(users.agent, total, expected) > ratio.THRESHOLD:
        verdict, reason = Verdict.INCONCLUSIVE, f"{seen}: not the {expected:.3%} asked for, so the arms do not compare"
    else:
        verdict, reason = Verdict.PASSED, f"{seen}, which is likely where {expected:.3%} are asked for"
    return GateResult("sample_ratio", verdict, value, None, expected, total, reason, asked.dry_run)
