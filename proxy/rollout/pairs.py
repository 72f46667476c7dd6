"""What the pairs show: do both arms decide alike, overall, in each kind of request, beyond chance, and without leaning?

These gates stand wherever pairs can arise (`paired`). They fail on proof, as `shares` says, with two exceptions of
their own kind, at `direction` and `kappa`.
"""

from math import log
from typing import Final

from proxy.analysis import direction as leaning
from proxy.analysis import kappa as chance
from proxy.analysis import segments as kinds
from proxy.analysis.segments import Segment
from proxy.config.gates_schema import Direction, Floor, Segments
from proxy.model.rollouts import OTHER, Evidence, GateResult, RolloutState
from proxy.model.snapshot import BUCKETS
from proxy.model.words import Verdict
from proxy.rollout.plan import Plan
from proxy.rollout.shares import ALPHA, FALSE_FAILURE, at_least, to_go

MAX_NAMED = 3
"""Segments that a reason names; how many more there are, it says."""
_ALL_DIFFER: Final = ": see with crossfade pairs what differs, and whether rollout.compare says what must be the same"


def paired(plan: Plan, state: RolloutState) -> bool:
    """Whether legacy and agent see the same requests here: not at full weight or without shadow copies. A shadow stage
    without copies has these gates all the same, and stays inconclusive: nothing was shown."""
    return state.weight == 0 or (state.weight < BUCKETS and plan.shadow > 0)


def agreement(floor: Floor, evidence: Evidence, min_samples: int) -> GateResult:
    """Passed where surely more than the floor of all comparable pairs agree, failed where surely fewer. A floor of 0
    asks for nothing, and only reports."""
    ok, bad = evidence.matched, evidence.mismatched
    verdict, value, bound, samples = at_least(ok, bad, floor.min, min_samples)
    seen = f"{value or 0:.2%} of {samples} pairs agree"
    if value is None:
        lost = f", {evidence.incomparable} could not be compared" if evidence.incomparable else ""
        reason = f"no comparable pairs yet{lost}; {floor.min:.2%} must surely agree"
    elif floor.min <= 0:
        reason = f"{seen}; nothing is asked of it"
    elif verdict is Verdict.PASSED:
        reason = f"{seen}, surely more than {floor.min:.2%}"
    elif verdict is Verdict.FAILED:
        reason = f"{seen}, surely fewer than {floor.min:.2%}{'' if ok else _ALL_DIFFER}"
    else:
        more = to_go(ok, bad, floor.min, "pairs")
        reason = f"{seen}, surely {bound:.2%}; more than {floor.min:.2%} must be sure{more}"
    dry_run = floor.dry_run or floor.min <= 0
    return GateResult("agreement", verdict, value, bound, floor.min, samples, reason, dry_run)


def segments(asked: Segments, evidence: Evidence) -> GateResult:
    """All segments in one result, whose value and bound are those of the one that stands worst: an operator needs to
    see which one holds the rollout, on one line, and not twenty that are fine. `judged` has them all.

    Passed where each surely agrees in more than the floor, failed where one surely does not; both alphas are divided by
    the number of segments. What is rare even together (`min_share`) is not waited for.
    """
    judged, floor = judge(asked, evidence), asked.agreement
    samples = sum(segment.ok + segment.bad for segment in judged)
    if not judged:
        reason = f"no pairs of any segment yet; {floor:.2%} of each must surely agree"
        return GateResult("segments", Verdict.INCONCLUSIVE, None, None, floor, 0, reason, asked.dry_run)
    verdict = kinds.verdict(judged)
    open_ones = [segment for segment in judged if segment.verdict is verdict]
    if verdict is Verdict.PASSED:
        worst = min(judged, key=_ratio)
        reason = f"all {len(judged)} surely agree in more than {floor:.2%}; the lowest: {_told(worst)}"
    else:
        worst = min(open_ones, key=_ratio)
        failed = verdict is Verdict.FAILED
        named = "; ".join(
            _told(segment, None if failed else asked, bound=not failed)
            for segment in sorted(open_ones, key=_ratio)[:MAX_NAMED]
        )
        more = f"; and {len(open_ones) - MAX_NAMED} more" if len(open_ones) > MAX_NAMED else ""
        how = "surely agree in fewer" if failed else "do not surely agree in more"
        reason = f"{len(open_ones)} of {len(judged)} {how} than {floor:.2%}: {named}{more}"
    return GateResult("segments", verdict, _ratio(worst), worst.lower_bound, floor, samples, reason, asked.dry_run)


def judge(asked: Segments, evidence: Evidence) -> tuple[Segment, ...]:
    """Each segment with its numbers and verdict; failed first, then inconclusive."""
    judged = kinds.judge(
        evidence.segments,
        asked.agreement,
        ALPHA,
        FALSE_FAILURE,
        min_samples=asked.min_samples,
        min_share=asked.min_share,
    )
    least = asked.min_share * sum(segment.ok + segment.bad for segment in judged)
    return tuple(segment for segment in judged if not _negligible(segment, least, asked.min_samples))


def _negligible(segment: Segment, least: float, min_samples: int) -> bool:
    pairs = segment.ok + segment.bad
    return segment.name == OTHER and pairs < least and pairs < min_samples


def _ratio(segment: Segment) -> float:
    return segment.ok / (segment.ok + segment.bad)


def _told(segment: Segment, asked: Segments | None = None, *, bound: bool = True) -> str:
    pairs = segment.ok + segment.bad
    if asked is not None and pairs < asked.min_samples:
        return f"{segment.name} has {pairs} of {asked.min_samples} pairs"
    surely = f", surely {segment.lower_bound:.2%}" if bound else ""
    return f"{segment.name} {_ratio(segment):.2%} of {pairs} pairs{surely}"


def direction(asked: Direction, evidence: Evidence, min_samples: int) -> GateResult:
    """Failed where mistakes surely lean to the worse side (McNemar's question, as an e-value). That they are balanced
    can never be proved, so it passes where `min_samples` pairs show no sign that they lean: the e-value is below 20. In
    between it is inconclusive. How many mistakes there are at all is the agreement's question.

    Only pairs count of which both decisions are known: where they are masked, or no single values, nobody said yes.
    """
    yes, no = evidence.agent_yes, evidence.agent_no
    samples, mistakes = sum(evidence.decisions.values()), yes + no
    value = yes / mistakes if mistakes else None
    side = "agent_yes" if yes > no else "agent_no"
    proof = leaning.log_evidence(yes, no) if yes != no and asked.worse in (side, "either") else 0.0
    seen = f"of {mistakes} mistakes in {samples} pairs the agent alone said yes in {yes}, legacy alone in {no}"
    if (unknown := evidence.matched + evidence.mismatched - samples) > 0:
        seen += f" (of {unknown} more a decision is not known)"
    if samples < min_samples:
        verdict, reason = Verdict.INCONCLUSIVE, f"{seen}; {min_samples - samples} pairs to go"
    elif proof >= -log(FALSE_FAILURE):
        verdict, reason = Verdict.FAILED, f"{seen}: surely more often {side.removeprefix('agent_')}"
    elif proof >= -log(ALPHA):
        verdict, reason = Verdict.INCONCLUSIVE, f"{seen}: it leans, but that may be chance"
    else:
        verdict, reason = Verdict.PASSED, f"{seen}: no sign that they lean the worse way"
    return GateResult("direction", verdict, value, None, 0.5, samples, reason, asked.dry_run)


def kappa(floor: Floor, evidence: Evidence, min_samples: int) -> GateResult:
    """Passed where kappa is surely above the floor, failed where it is surely below. Its interval holds for many pairs
    only, so fewer than `min_samples` are inconclusive."""
    samples = sum(evidence.decisions.values())
    value, lower, _ = chance.kappa(evidence.decisions, ALPHA)
    if value is None:
        if samples:
            reason = f"no two different decisions in {samples} pairs, so chance alone would agree as well"
        else:
            reason = f"no comparable pairs yet; more than {floor.min:.3f} must be sure"
        return GateResult("kappa", Verdict.INCONCLUSIVE, None, None, floor.min, samples, reason, floor.dry_run)
    agreed = f"kappa {value:.3f} of {samples} pairs"
    seen = f"{agreed}, surely {lower:.3f}"
    if samples < min_samples:
        verdict, reason = Verdict.INCONCLUSIVE, f"{seen}; {min_samples - samples} pairs to go"
    elif lower > floor.min:
        verdict, reason = Verdict.PASSED, f"{seen}, above {floor.min:.3f}"
    elif chance.kappa(evidence.decisions, FALSE_FAILURE).upper < floor.min:
        verdict, reason = Verdict.FAILED, f"{agreed}, surely below {floor.min:.3f}"
    else:
        verdict, reason = Verdict.INCONCLUSIVE, f"{seen}; more than {floor.min:.3f} must be sure"
    return GateResult("kappa", verdict, value, lower, floor.min, samples, reason, floor.dry_run)
