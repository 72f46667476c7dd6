"""A small scripted control process behind a real admin server: what tests of the API and of the commands share."""

import hashlib
from pathlib import Path
from typing import Any

from proxy.admin.documents import explanation_document
from proxy.model.errors import CommandError
from proxy.model.rollouts import ArmCount, Event, Evidence, GateResult
from proxy.model.snapshot import KeySource, RolloutSpec
from proxy.model.words import Phase, Verb, Verdict
from proxy.routing.explain import explain


def check(name: str, verdict: str, reason: str, **numbers: float | None) -> dict[str, Any]:
    """A gate or guard rule as a document."""
    empty = {"value": None, "bound": None, "threshold": None, "samples": 0}
    return {"name": name, "verdict": verdict, **empty, **numbers, "reason": reason, "dry_run": False}


ROUTE: dict[str, Any] = {
    "name": "refunds",
    "legacy": "human",
    "agent": "agent",
    "version": "2026-11-22",
    "phase": "progressing",
    "stage": "canary",
    "weight": 5.0,
    "shadow_percent": 100.0,
    "since": "2026-11-22T08:00:00.000Z",
    "reason": "the gates passed",
    "actor": "gates",
    "revision": 3,
    "waits_for": "min_samples (460 to go)",
    "next": {"stage": "expand-10", "weight": 10.0, "soak": 3600.0},
    "holdback": 1.0,
    "replica": {"leads": True, "alive": 3},
    "gates": [
        check("soak", "passed", "held 1h 30m of 1h", value=5400.0, threshold=3600.0),
        check("min_samples", "inconclusive", "40 of 500 samples", value=40.0, threshold=500.0, samples=40),
    ],
    "guard": [check("error_rate", "inconclusive", "all is well", value=0.04, bound=0.2, threshold=0.003, samples=50)],
    "totals": {
        "legacy": {"requests": 950, "failed": 1, "slow": 0},
        "agent": {"requests": 50, "failed": 2, "slow": 5},
    },
    "agreement": {"matched": 36, "mismatched": 4, "incomparable": 0, "ratio": 0.9, "lower_bound": 0.71},
    "kappa": {"value": 0.78, "lower_bound": 0.6, "upper_bound": 0.91},
    "confusion": [
        {"legacy": "approve", "agent": "approve", "pairs": 26, "cost": 0.0},
        {"legacy": "approve", "agent": "deny", "pairs": 1, "cost": 10.0},
        {"legacy": "deny", "agent": "deny", "pairs": 10, "cost": 0.0},
        {"legacy": "deny", "agent": "approve", "pairs": 3, "cost": 3.0},
    ],
    "classes": [
        {"decision": "approve", "agreed": 26, "missed": 1, "ratio": 26 / 27, "lower_bound": 0.74, "cost": 10.0},
        {"decision": "deny", "agreed": 10, "missed": 3, "ratio": 10 / 13, "lower_bound": 0.31, "cost": 3.0},
    ],
    "misses": {"pairs": 4, "cost": 13.0, "cost_per_pair": 0.325},
    "consistency": {"repeats": 200, "alike": 190, "ratio": 0.95, "lower_bound": 0.9},
    "fields": [
        {"path": "$.reason", "pairs": 20, "repeats": 90, "raw_rate": 0.5, "noise_rate": 0.45, "noisy": True},
        {"path": "$.decision", "pairs": 4, "repeats": 2, "raw_rate": 0.1, "noise_rate": 0.01, "noisy": False},
    ],
    "segments": [
        {
            "name": "late",
            "matched": 30,
            "mismatched": 1,
            "ratio": 0.968,
            "lower_bound": 0.81,
            "verdict": "inconclusive",
        }
    ],
    "direction": {"agent_yes": 3, "agent_no": 1},
    "fallback_rate": 0.04,
    "escalation_rate": 0.0,
    "key_coverage": {"requests": 1_000, "no_key": 20, "ratio": 0.98},
    "sample_ratio": {"legacy": 450, "agent": 22, "ratio": 22 / 472, "expected": 0.05},
}
PLAIN: dict[str, Any] = {**ROUTE, "name": "plain", "agent": None, "version": None, "phase": None, "stage": None}

PAIR: dict[str, Any] = {
    "id": "refunds.1-0",
    "request_id": "r-1",
    "route": "refunds",
    "at": "2026-11-22T08:00:01.000Z",
    "arm": "legacy",
    "mode": "legacy",
    "verdict": "mismatched",
    "differences": [{"path": "$.decision", "legacy": "approve", "agent": "deny"}],
    "legacy": {"status": 200, "decision": "approve", "duration": 0.05, "error": None, "body": None},
    "agent": {"status": 200, "decision": "deny", "duration": 0.02, "error": None, "body": None},
}

EVENT = Event(
    at=1_795_000_000.0,
    route="refunds",
    version="2026-11-22",
    kind="advance",
    actor="controller",
    reason="the gates passed",
    before=("progressing", "shadow", 0),
    after=("progressing", "canary", 5_000),
    gates=(GateResult("agreement", Verdict.PASSED, 0.97, 0.955, 0.95, 800, "surely 95.5 %"),),
)
SPEC = RolloutSpec(
    agent="agent",
    version="2026-11-22",
    stage="canary",
    phase=Phase.PROGRESSING,
    epoch=2,
    weight=5_000,
    key=(KeySource("header", "x-user-id"), KeySource("query", "user")),
    salt="refunds-1",
)
STAGES = (("shadow", 0), ("canary", 5_000), ("half", 50_000))
SEEN = Evidence(
    ArmCount(950, 1, 3),
    ArmCount(50, 2, 0),
    matched=36,
    mismatched=4,
    drawn=1_000,
    no_key=20,
    served=50,
    fallbacks=2,
    escalated=1,
    agent_yes=3,
    agent_no=1,
    segments={"late": (30, 1), "broken": (6, 3)},
)


class ScriptedOperations:
    """`Operations` that carries out verbs on paper. `failure` is raised by the next command or reload."""

    def __init__(self) -> None:
        self.documents = {"refunds": dict(ROUTE), "plain": dict(PLAIN)}
        self.commands: list[tuple[str, Verb, str, str, bool]] = []
        self.reloads: list[str] = []
        self.keys: list[bytes] = []
        self.reasons: list[str] = []
        self.failure: Exception | None = None

    def routes(self) -> list[dict[str, Any]]:
        return list(self.documents.values())

    def route(self, name: str) -> dict[str, Any] | None:
        return self.documents.get(name)

    async def command(self, route: str, verb: Verb, *, actor: str, reason: str, full: bool = False) -> dict[str, Any]:
        self._fail()
        document = self.documents[route]
        if document["version"] is None:
            raise KeyError(route)
        if verb is Verb.RESUME and document["phase"] != "paused":
            raise CommandError("refunds is progressing; only a paused rollout resumes", ("promote", "pause", "abort"))
        self.commands.append((route, verb, actor, reason, full))
        if verb is Verb.PAUSE:
            document["phase"] = "paused"
        document["revision"] += 1
        return document

    def explain(self, route: str, key: bytes) -> dict[str, Any] | None:
        self.keys.append(key)
        if self.documents[route]["version"] is None:
            return None
        told = explain(SPEC, key, STAGES, 0)
        return explanation_document(route, SPEC, told, why="", split=False, holdback=0.0, override=False)

    def costs(self, route: str) -> dict[tuple[str, str], float]:
        return {("approve", "deny"): 10.0} if route == "refunds" else {}

    async def reload(self, *, actor: str) -> dict[str, Any]:
        self._fail()
        self.reloads.append(actor)
        return {"result": "applied", "snapshot": 7}

    def config(self) -> dict[str, Any]:
        return {"workers": 2, "upstreams": {"agent": {"set_headers": {"authorization": "***"}}}}

    def unready(self) -> list[str]:
        return self.reasons

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class ScriptedPairs:
    """`PairReader` over a few pairs; remembers what it was asked. `failure` is raised by the next reading."""

    def __init__(self) -> None:
        self.kept = [PAIR]
        self.asked: list[tuple[str, str | None, str | None, int]] = []
        self.since: list[tuple[str, float]] = []
        self.broken: tuple[int, Exception] | None = None
        self.failure: Exception | None = None

    async def pairs(
        self, route: str, *, verdict: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[list[dict[str, Any]], str | None]:
        if self.failure is not None:
            raise self.failure
        self.asked.append((route, verdict, before, limit))
        return self.kept[:limit], "1-0" if len(self.kept) > limit else None

    async def pair(self, pair_id: str) -> dict[str, Any] | None:
        if self.failure is not None:
            raise self.failure
        return next((pair for pair in self.kept if pair["id"] == pair_id), None)

    async def span(self, route: str, since: float) -> tuple[str, str] | None:
        if self.failure is not None:
            raise self.failure
        self.since.append((route, since))
        return (_place(self.kept[-1]), _place(self.kept[0])) if self.kept else None

    async def following(
        self, route: str, *, after: str, until: str, verdict: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Two at a time; `broken` is raised once so many pages were given."""
        self.asked.append((route, verdict, after, 0))
        if self.broken is not None and len(self.asked) > self.broken[0]:
            raise self.broken[1]
        rest = [pair for pair in reversed(self.kept) if _order(after) < _order(_place(pair)) <= _order(until)]
        return rest[:2], _place(rest[1]) if len(rest) > 2 else None


def _place(pair: dict[str, Any]) -> str:
    return str(pair["id"]).partition(".")[2]


def _order(place: str) -> tuple[int, ...]:
    return tuple(map(int, place.split("-")))


class ScriptedSteps:
    """`StepReader` that knows of one step."""

    async def read(self, _route: str, _trace: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        step = {
            "id": "a1", "parent": None, "depth": 0, "kind": "tool", "name": "refund", "duration": 0.2, "model": None,
            "tokens": None, "writes": True, "error": None, "arguments": {"amount": 5}, "result": None,
        }  # fmt: skip
        totals = {"steps": 1, "tool_calls": 1, "model_calls": 0, "writes": 1, "errors": 0, "left_out": 0}
        return [step], {**totals, "tokens": {"input": 0, "output": 0}}


class ScriptedHistory:
    async def history(self, route: str, limit: int = 100) -> list[Event]:
        return [EVENT][:limit] if route == "refunds" else []

    async def stages(self, route: str, limit: int = 100) -> list[tuple[str, int, str]]:
        kept = [("2026-11-22", 2, "canary"), ("2026-11-22", 2, "shadow"), ("2026-10-01", 1, "shadow")]
        return kept[:limit] if route == "refunds" else []

    async def evidence(self, route: str, version: str, epoch: int, stage: str) -> Evidence:
        return SEEN if stage == "canary" else Evidence(matched=10 * epoch)


def tokens_file(folder: Path) -> Path:
    """`ana` may read with `red`, `bo` may act with `blue`."""
    lines = [
        f"{name} {role} sha256:{hashlib.sha256(token.encode()).hexdigest()}"
        for name, role, token in (("ana", "viewer", "red"), ("bo", "operator", "blue"))
    ]
    file = folder / "tokens"
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o600)
    return file
