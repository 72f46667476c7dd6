"""A rollout's moves and gates as documents: times in RFC 3339, weights in percent."""

from typing import Any

from proxy.model.rollouts import Event, GateResult
from proxy.telemetry.clock import rfc3339


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
    }


def _place(place: tuple[str, str, int]) -> dict[str, Any]:
    phase, stage, weight = place
    return {"phase": phase, "stage": stage, "weight": weight / 1000}
