"""What the admin API may ask of the control process (`proxy.model.ports.Operations`). The documents are those that
`proxy.admin.api` lists."""

from collections.abc import Callable
from typing import Any, Final

from proxy.admin.documents import evidence_document, explanation_document, gate_document
from proxy.config.load import masked
from proxy.config.schema import Route
from proxy.control.configuration import blindly_trusted
from proxy.control.controller import Controller
from proxy.control.course import Course
from proxy.control.reload import Reloader
from proxy.model.rollouts import Evidence
from proxy.model.words import Verb
from proxy.routing.explain import explain
from proxy.telemetry.clock import rfc3339


class ControlOperations:
    """`workers` tells how many accept requests, `draining` whether the end has begun."""

    def __init__(
        self, controller: Controller, reloader: Reloader, workers: Callable[[], int], draining: Callable[[], bool]
    ) -> None:
        self._controller, self._reloader, self._workers, self._draining = controller, reloader, workers, draining

    def routes(self) -> list[dict[str, Any]]:
        return [self._document(route) for route in self._controller.loaded.config.routes]

    def route(self, name: str) -> dict[str, Any] | None:
        route = self._controller.loaded.routes.get(name)
        return self._document(route) if route is not None else None

    async def command(self, route: str, verb: Verb, *, actor: str, reason: str, full: bool = False) -> dict[str, Any]:
        await self._controller.courses[route].command(verb, actor=actor, reason=reason, full=full)
        return self._document(self._controller.loaded.routes[route])

    def explain(self, route: str, key: bytes) -> dict[str, Any] | None:
        course, snapshot = self._controller.courses.get(route), self._controller.snapshot
        specs = {each.name: each.rollout for each in snapshot.routes} if snapshot is not None else {}
        spec = specs.get(route)  # what the workers have, and not what it was made of
        if course is None or snapshot is None or spec is None:
            return None
        holdback = course.rollout.holdback
        told = explain(spec, key, [(stage.name, stage.weight) for stage in course.plan.stages], holdback)
        return explanation_document(
            route,
            spec,
            told,
            why=course.state.reason if course.state is not None else _UNKNOWN,
            split=course.plan.split is not None,
            holdback=holdback / 1000,
            override=bool(snapshot.override_secret),
        )

    async def reload(self, *, actor: str) -> dict[str, Any]:
        applied = await self._reloader.reload(actor)
        return {"result": "applied" if applied else "unchanged", "snapshot": self._controller.number}

    def config(self) -> dict[str, Any]:
        return masked(self._controller.loaded.config)

    def unready(self) -> list[str]:
        if self._draining():
            return ["draining"]
        blind = blindly_trusted(self._controller.loaded.config)
        reasons = [f"the certificate of the upstream {name} is not verified (insecure_skip_verify)" for name in blind]
        return reasons if self._workers() else ["no worker accepts requests", *reasons]

    def _document(self, route: Route) -> dict[str, Any]:
        course = self._controller.courses.get(route.name)
        return {"name": route.name, "legacy": route.legacy, **(_NO_ROLLOUT if course is None else _rollout(course))}


def _rollout(course: Course) -> dict[str, Any]:
    placement, state, seen = course.placement, course.state, course.evidence
    return {
        "agent": course.rollout.agent,
        "version": placement.version,
        "phase": placement.phase.value,
        "stage": placement.stage,
        "weight": placement.weight / 1000,
        "shadow_percent": placement.shadow / 1000,
        "since": rfc3339(state.since) if state is not None else None,
        "reason": state.reason if state is not None else _UNKNOWN,
        "revision": state.revision if state is not None else 0,
        "gates": [gate_document(gate) for gate in course.gates],
        "guard": [gate_document(rule) for rule in course.guards],
        **evidence_document(seen),
    }


_UNKNOWN: Final = "the store has not said yet where this rollout stands"
_NO_ROLLOUT: dict[str, Any] = {
    "agent": None,
    "version": None,
    "phase": None,
    "stage": None,
    "weight": 0.0,
    "shadow_percent": 0.0,
    "since": None,
    "reason": "",
    "revision": 0,
    "gates": [],
    "guard": [],
    **evidence_document(Evidence()),
}
