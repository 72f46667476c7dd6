"""What the configuration asks of a rollout: its stages or its fixed split, and the gates between the stages.

A holdback stays with legacy at every stage, so no weight is more than what it leaves. The last stage of `100` then is
one of, say, 99 percent, and `promote --full` goes there; it is complete all the same: a rollout is complete when its
plan is at its end, not when every user is the agent's. Its guard goes on comparing the agent with those held back.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson

from proxy.config.freeze import Freeze
from proxy.config.gates_schema import Allowance, Ceiling, Direction, Floor, Gates, Guard, SampleRatio, Segments
from proxy.config.rollout_schema import Rollout
from proxy.model.snapshot import BUCKETS

SPLIT_STAGE = "split"
"""The stage's name where the configuration holds a fixed split instead of stages."""

_RATIO: Final = SampleRatio()
_NEVER: Final = Freeze()


@dataclass(frozen=True, slots=True)
class PlanStage:
    """`weight` in thousandths of a percent, `soak` in seconds. `manual`: only an operator moves on from here."""

    name: str
    weight: int
    soak: float
    manual: bool = False


@dataclass(frozen=True, slots=True)
class GateSpec:
    """What must hold to leave a stage, beside its soak, as the configuration says it: None where a gate was not asked
    for. `latency` is also None without a guard that says what is slow; without a `key_coverage` there is a report."""

    min_samples: int
    agreement: Floor
    error_rate: Allowance
    latency: Allowance | None = None
    segments: Segments | None = None
    direction: Direction | None = None
    kappa: Floor | None = None
    fallback_rate: Ceiling | None = None
    escalation_rate: Ceiling | None = None
    key_coverage: Floor | None = None
    sample_ratio: SampleRatio = _RATIO


@dataclass(frozen=True, slots=True)
class Split:
    """Both in thousandths of a percent."""

    weight: int
    shadow: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One rollout as the operator wants it. `stages` is empty exactly where `split` is given.

    `shadow` is the share of requests copied to the agent, in thousandths of a percent, at every stage.
    `pause_on_failure`: a failed gate pauses the rollout, instead of rolling it back. `pause_on_inconclusive`: so does a
    gate that is still inconclusive when the stage has soaked, instead of being waited for. `measured`: a digest of what
    the counts of evidence mean; those under another one are not to be added up with these.
    """

    route: str
    version: str
    stages: tuple[PlanStage, ...]
    gates: GateSpec
    shadow: int
    split: Split | None = None
    pause_on_failure: bool = False
    pause_on_inconclusive: bool = False
    freeze: Freeze = _NEVER
    measured: str = ""

    @property
    def last(self) -> int:
        """Index of the last stage; 0 under a fixed split."""
        return max(0, len(self.stages) - 1)


def plan(route_name: str, rollout: Rollout) -> Plan:
    """The plan of one route's rollout section."""
    split, most = rollout.split, BUCKETS - rollout.holdback
    return Plan(
        route=route_name,
        version=rollout.version,
        stages=()
        if split
        else tuple(
            PlanStage(stage.name, min(stage.weight, most), stage.soak, stage.approval == "manual")
            for stage in rollout.stages
        ),
        gates=_gates(rollout.gates, rollout.guard),
        shadow=split.shadow if split else rollout.shadow.percent,
        split=Split(min(split.weight, most), split.shadow) if split else None,
        pause_on_failure=rollout.on_failure == "pause",
        pause_on_inconclusive=rollout.on_inconclusive == "pause",
        freeze=Freeze(rollout.freeze, rollout.timezone),
        measured=_measured(rollout),
    )


_MEASURES: Final[dict[str, Any]] = {
    "agent": True,
    "key": True,
    "salt": True,
    "compare": {"decision", "labels", "fields"},
    "escalate": True,
    "fallback": {"on": True},
    "guard": {"latency": {"slower_than"}},
    "gates": {"segments": {"by"}, "direction": {"yes"}},
}
"""What of a configuration says what is counted as what. What the counts are held against is not in it."""


def _measured(rollout: Rollout) -> str:
    """Without what is as by default, so that a setting that a later Crossfade adds makes no difference. What a miss
    costs is not in it: counts are weighed when they are read."""
    sections = rollout.model_dump(mode="json", include=_MEASURES, exclude_defaults=True)
    said = {name: section for name, section in sections.items() if section}
    if rollout.pending is not None:  # even as by default: it is there
        said["pending"] = list(rollout.pending.status)
    return blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


def _gates(gates: Gates, guard: Guard) -> GateSpec:
    return GateSpec(
        min_samples=gates.min_samples,
        agreement=gates.agreement,
        error_rate=_allowed(gates.error_rate, guard.error_rate.margin),
        latency=_allowed(gates.latency, guard.latency.margin) if guard.latency else None,
        segments=gates.segments,
        direction=gates.direction,
        kappa=gates.kappa,
        fallback_rate=gates.fallback_rate,
        escalation_rate=gates.escalation_rate,
        key_coverage=gates.key_coverage,
        sample_ratio=gates.sample_ratio,
    )


def _allowed(gate: Allowance, margin: float) -> Allowance:
    """With the guard's margin, where the gate says nothing of its own."""
    if gate.margin is None and gate.max is None:
        return gate.model_copy(update={"margin": margin})
    return gate
