"""What the configuration asks of a rollout: its stages or its fixed split, and the gates between the stages."""

from dataclasses import dataclass

from proxy.config.rollout_schema import Rollout

SPLIT_STAGE = "split"
"""The stage's name where the configuration holds a fixed split instead of stages."""


@dataclass(frozen=True, slots=True)
class PlanStage:
    """`weight` in thousandths of a percent, `soak` in seconds."""

    name: str
    weight: int
    soak: float


@dataclass(frozen=True, slots=True)
class GateSpec:
    """What must hold to leave a stage, beside its soak. Shares are 0 to 1; `slow_margin` is None without its guard."""

    min_samples: int
    agreement: float
    error_margin: float
    slow_margin: float | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Both in thousandths of a percent."""

    weight: int
    shadow: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One rollout as the operator wants it. `stages` is empty exactly where `split` is given.

    `shadow` is the share of requests copied to the agent, in thousandths of a percent, at every stage.
    """

    route: str
    version: str
    stages: tuple[PlanStage, ...]
    gates: GateSpec
    shadow: int
    split: Split | None = None

    @property
    def last(self) -> int:
        """Index of the last stage; 0 under a fixed split."""
        return max(0, len(self.stages) - 1)


def plan(route_name: str, rollout: Rollout) -> Plan:
    """The plan of one route's rollout section."""
    split = rollout.split
    latency = rollout.guard.latency
    return Plan(
        route=route_name,
        version=rollout.version,
        stages=() if split else tuple(PlanStage(stage.name, stage.weight, stage.soak) for stage in rollout.stages),
        gates=GateSpec(
            min_samples=rollout.gates.min_samples,
            agreement=rollout.gates.agreement.min,
            error_margin=rollout.guard.error_rate.margin,
            slow_margin=latency.margin if latency else None,
        ),
        shadow=split.shadow if split else rollout.shadow.percent,
        split=Split(split.weight, split.shadow) if split else None,
    )
