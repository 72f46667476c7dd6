"""What the admin API may ask of the control process (`proxy.model.ports.Operations`).

The document of a route; without a rollout it has the same members, and nothing in them:

    name, legacy, agent            the route and its upstreams
    version, phase, stage          where its rollout stands, since when, why, and who or what put it there
    since, reason, actor, revision
    weight, shadow_percent         percent of users with the agent, percent of requests copied to it
    waits_for                      what is missing to move on, a sentence
    next                           {stage, weight, soak}, or null
    holdback                       percent of users that stay with legacy at every stage
    gates, guard                   [{name, verdict, value, bound, threshold, samples, reason, dry_run}]; of a guard's
                                   rule `bound` is how near it is to rolling back (0 to 1)
    totals                         {legacy, agent}: each {requests, failed, slow}, at this stage
    agreement                      {matched, mismatched, incomparable, ratio, lower_bound}
    kappa                          {value, lower_bound, upper_bound}
    confusion                      [{legacy, agent, pairs, cost}]: pairs by the two decisions; the cost of all
    classes                        [{decision, agreed, missed, ratio, lower_bound, cost}], by legacy's decision; the
                                   bounds of all of them hold at once
    misses                         {pairs, cost, cost_per_pair}: the last of all that could be compared
    consistency                    {repeats, alike, ratio, lower_bound}: the agent's answers to what it was asked twice
    fields                         [{path, pairs, repeats, raw_rate, noise_rate, noisy}]: where the arms differ, and the
                                   agent from itself; noisy is null on too few repeats to tell
    segments                       [{name, matched, mismatched, ratio, lower_bound, verdict}]
    direction                      {agent_yes, agent_no}: mistakes, by who alone said yes
    fallback_rate, escalation_rate
    key_coverage                   {requests, no_key, ratio}
    sample_ratio                   {legacy, agent, ratio, expected}: different users, by arm
    replica                        {leads, alive}: whether the replica that answers decides (null: nobody knows while
                                   the store is away), and how many live
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from proxy.admin.documents import evidence_document, explanation_document, gate_document
from proxy.config.load import masked
from proxy.config.schema import Route
from proxy.control.configuration import blindly_trusted
from proxy.control.controller import Controller
from proxy.control.course import Course
from proxy.control.reload import Reloader
from proxy.model.rollouts import Evidence, Users
from proxy.model.snapshot import BUCKETS
from proxy.model.words import Verb
from proxy.rollout.outlook import following, waits_for
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

    def costs(self, route: str) -> Mapping[tuple[str, str], float]:
        known = self._controller.loaded.rules.get(route)
        return known.rules.costs if known is not None else {}

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
        if course is None:
            return {"name": route.name, "legacy": route.legacy, **_NO_ROLLOUT}
        return {
            "name": route.name,
            "legacy": route.legacy,
            **_rollout(course, self.costs(route.name)),
            "replica": self._replica(),
        }

    def _replica(self) -> dict[str, Any]:
        return {"leads": self._controller.leads, "alive": self._controller.replicas}


def _rollout(course: Course, costs: Mapping[tuple[str, str], float]) -> dict[str, Any]:
    placement, state, users = course.placement, course.state, course.users
    return {
        "agent": course.rollout.agent,
        "version": placement.version,
        "phase": placement.phase.value,
        "stage": placement.stage,
        "weight": placement.weight / 1000,
        "shadow_percent": placement.shadow / 1000,
        "since": rfc3339(state.since) if state is not None else None,
        "reason": state.reason if state is not None else _UNKNOWN,
        "actor": state.actor if state is not None else "",
        "revision": state.revision if state is not None else 0,
        "waits_for": waits_for(course.plan, state, course.gates) if state is not None else _STORE,
        "next": _next(course),
        "holdback": course.rollout.holdback / 1000,
        "gates": [gate_document(gate) for gate in course.gates],
        "guard": [gate_document(rule) for rule in course.guards],
        **evidence_document(course.evidence, course.rollout.gates.segments, costs),
        "sample_ratio": _sample_ratio(users, placement.weight),
    }


def _next(course: Course) -> dict[str, Any] | None:
    stage = following(course.plan, course.state) if course.state is not None else None
    return {"stage": stage.name, "weight": stage.weight / 1000, "soak": stage.soak} if stage is not None else None


def _sample_ratio(users: Users, weight: int) -> dict[str, Any]:
    """Different users seen at this stage and weight, and the share of them that should be with the agent."""
    total = users.legacy + users.agent
    ratio = users.agent / total if total else None
    return {"legacy": users.legacy, "agent": users.agent, "ratio": ratio, "expected": weight / BUCKETS}


_UNKNOWN: Final = "the store has not said yet where this rollout stands"
_STORE: Final = "the store"
_NO_ROLLOUT: Final[dict[str, Any]] = {
    "agent": None,
    "version": None,
    "phase": None,
    "stage": None,
    "weight": 0.0,
    "shadow_percent": 0.0,
    "since": None,
    "reason": "",
    "actor": "",
    "revision": 0,
    "waits_for": "",
    "next": None,
    "holdback": 0.0,
    "gates": [],
    "guard": [],
    **evidence_document(Evidence()),
    "sample_ratio": _sample_ratio(Users(), 0),
    "replica": {"leads": None, "alive": 0},
}
