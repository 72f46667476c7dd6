"""Moves, gates, evidence and explanations as documents: times in RFC 3339, weights in percent, shares 0 to 1."""

from typing import Any, Final

from proxy.analysis.agreement import lower_bound
from proxy.analysis.confusion import UNNAMED, Cell, Class, Costs, cells, classes
from proxy.analysis.kappa import kappa
from proxy.analysis.segments import judge
from proxy.analysis.selfnoise import fields
from proxy.config.gates_schema import Segments
from proxy.model.rollouts import ArmCount, Event, Evidence, GateResult
from proxy.model.snapshot import RolloutSpec
from proxy.rollout import pairs
from proxy.rollout.shares import ALPHA, FALSE_FAILURE
from proxy.routing.explain import Explanation, Standing
from proxy.telemetry.clock import rfc3339

_NO_COSTS: Final[Costs] = {}


def event_document(event: Event) -> dict[str, Any]:
    return {
        "at": rfc3339(event.at),
        "route": event.route,
        "version": event.version,
        "kind": event.kind,
        "actor": event.actor,
        "reason": event.reason,
        "before": _place(event.before),
        "after": _place(event.after),
        "gates": [gate_document(gate) for gate in event.gates],
    }


def gate_document(gate: GateResult) -> dict[str, Any]:
    return {
        "name": gate.name,
        "verdict": gate.verdict.value,
        "value": gate.value,
        "bound": gate.bound,
        "threshold": gate.threshold,
        "samples": gate.samples,
        "reason": gate.reason,
        "dry_run": gate.dry_run,
    }


def evidence_document(seen: Evidence, rule: Segments | None = None, costs: Costs = _NO_COSTS) -> dict[str, Any]:
    """What was seen at one stage. A share of nothing is null. `rule` is the gate that judges segments; without one they
    have no verdict. `costs` are of misses, where they are not 1."""
    compared = seen.matched + seen.mismatched
    found = cells(seen.decisions, costs)
    return {
        "totals": {"legacy": _count(seen.legacy), "agent": _count(seen.agent)},
        "agreement": {
            "matched": seen.matched,
            "mismatched": seen.mismatched,
            "incomparable": seen.incomparable,
            "ratio": _share(seen.matched, compared),
            "lower_bound": lower_bound(seen.matched, seen.mismatched, ALPHA) if compared else None,
        },
        "kappa": _kappa(seen),
        "confusion": [cell._asdict() for cell in found],
        "classes": [_class(each) for each in classes(found, ALPHA)],
        "misses": _misses(seen, found),
        "consistency": {
            "repeats": seen.repeats,
            "alike": seen.repeats_alike,
            "ratio": _share(seen.repeats_alike, seen.repeats),
            "lower_bound": lower_bound(seen.repeats_alike, seen.repeats - seen.repeats_alike, ALPHA)
            if seen.repeats
            else None,
        },
        "fields": [each._asdict() for each in fields(seen.fields, compared, seen.repeats)],
        "segments": _segments(seen, rule),
        "direction": {"agent_yes": seen.agent_yes, "agent_no": seen.agent_no},
        "fallback_rate": _share(seen.fallbacks, seen.served),
        "escalation_rate": _share(seen.escalated, seen.agent.requests),
        "key_coverage": {
            "requests": seen.drawn,
            "no_key": seen.no_key,
            "ratio": _share(seen.drawn - seen.no_key, seen.drawn),
        },
    }


def stage_document(version: str, epoch: int, stage: str, seen: Evidence, costs: Costs = _NO_COSTS) -> dict[str, Any]:
    """The evidence of one stage of one epoch of one version, which may be long gone."""
    return {"version": version, "epoch": epoch, "stage": stage, **evidence_document(seen, costs=costs)}


def explanation_document(route: str, spec: RolloutSpec, told: Explanation, **more: Any) -> dict[str, Any]:
    """Where a user's requests go and why. The key itself is not in it."""
    return {
        "route": route,
        "version": spec.version,
        "phase": spec.phase.value,
        "bucket": told.bucket,
        "key_hash": told.key_hash or None,
        "now": _standing(told.now),
        "stages": [_standing(at) for at in told.stages],
        "enters": told.enters,
        "held_back": told.held_back,
        "shadow_percent": spec.shadow.share / 1000,
        "sources": [
            {"kind": place.source.kind, "name": place.source.name or None, "alike": place.alike}
            for place in told.places
        ],
        **more,
    }


def _standing(at: Standing) -> dict[str, Any]:
    return {
        "stage": at.stage,
        "weight": at.weight / 1000,
        "arm": at.decision.arm.value,
        "mode": at.decision.mode.value,
        "reason": at.decision.reason.value,
        "sentence": at.sentence,
    }


def _place(place: tuple[str, str, int]) -> dict[str, Any]:
    phase, stage, weight = place
    return {"phase": phase, "stage": stage, "weight": weight / 1000}


def _segments(seen: Evidence, rule: Segments | None) -> list[dict[str, Any]]:
    """As the gate judges them, or without a gate. Their bounds hold all at once."""
    judged = (
        pairs.judge(rule, seen)
        if rule
        else judge(seen.segments, 0.0, ALPHA, FALSE_FAILURE, min_samples=0, min_share=0.0)
    )
    return [
        {
            "name": segment.name,
            "matched": segment.ok,
            "mismatched": segment.bad,
            "ratio": _share(segment.ok, segment.ok + segment.bad),
            "lower_bound": segment.lower_bound,
            "verdict": segment.verdict.value if rule else None,
        }
        for segment in judged
    ]


def _class(each: Class) -> dict[str, Any]:
    return {
        "decision": each.decision,
        "agreed": each.agreed,
        "missed": each.missed,
        "ratio": _share(each.agreed, each.agreed + each.missed),
        "lower_bound": each.lower_bound,
        "cost": each.cost,
    }


def _misses(seen: Evidence, found: tuple[Cell, ...]) -> dict[str, float | None]:
    """A miss whose decisions are not known, hidden ones among them, costs what one does that is not named."""
    known = sum(cell.pairs for cell in found if cell.legacy != cell.agent)
    cost = sum(cell.cost for cell in found) + UNNAMED * max(0, seen.mismatched - known)
    compared = seen.matched + seen.mismatched
    return {"pairs": seen.mismatched, "cost": cost, "cost_per_pair": cost / compared if compared else None}


def _kappa(seen: Evidence) -> dict[str, float | None]:
    found = kappa(seen.decisions, ALPHA)
    return {"value": found.value, "lower_bound": found.lower, "upper_bound": found.upper}


def _count(count: ArmCount) -> dict[str, int]:
    return {"requests": count.requests, "failed": count.failed, "slow": count.slow}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
