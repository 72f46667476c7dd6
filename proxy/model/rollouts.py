"""A rollout's state, the evidence it moves by, and what its moves leave behind. The rules are in `proxy.rollout`."""

from dataclasses import dataclass, field

from proxy.model.snapshot import Placement
from proxy.model.words import Phase, Verdict


@dataclass(frozen=True, slots=True)
class RolloutState:
    """Where one rollout stands; kept in the store, changed by compare-and-set on `revision`.

    `epoch` counts fresh starts (a new version, a retry). `since` is when stage and phase were entered (Unix seconds),
    `soaked` how long the stage has held so far (seconds; it grows only while the rollout progresses, and not while we
    are down). `weight` and `shadow` are thousandths of a percent, as in a `Placement`.
    """

    route: str
    version: str
    phase: Phase
    stage: int
    stage_name: str
    weight: int
    shadow: int
    epoch: int
    revision: int
    since: float
    soaked: float = 0.0
    reason: str = ""
    actor: str = ""

    def placement(self) -> Placement:
        return Placement(self.version, self.stage_name, self.phase, self.epoch, self.weight, self.shadow)


@dataclass(frozen=True, slots=True)
class ArmCount:
    """One arm's outcomes. `failed` and `slow` are parts of `requests`."""

    requests: int = 0
    failed: int = 0
    slow: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen at one stage of one epoch of one version."""

    legacy: ArmCount = ArmCount()
    agent: ArmCount = ArmCount()
    matched: int = 0
    mismatched: int = 0
    incomparable: int = 0


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's or guard's verdict with its numbers: measured value, its confidence bound, the threshold it is held
    against, and how many samples stand behind it. `reason` is a sentence for the operator."""

    name: str
    verdict: Verdict
    value: float | None
    bound: float | None
    threshold: float | None
    samples: int
    reason: str


@dataclass(frozen=True, slots=True)
class Event:
    """One move of a rollout, for its history: who or what moved it, from where to where, and on what evidence."""

    at: float
    route: str
    version: str
    kind: str
    """`begin`, `advance`, `complete`, `rollback`, `replan` or a verb of `Verb` (see `proxy.rollout.machine.Move`)."""
    actor: str
    reason: str
    before: tuple[str, str, int]
    """(phase, stage, weight in thousandths of a percent)"""
    after: tuple[str, str, int]
    gates: tuple[GateResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """One tick's share of one route, as the store keeps it: exactly once for each (source, seq).

    `evidence` is what to add, by (version, epoch, stage). `pairs` are (verdict, JSON object without `id`, which the
    store gives); the verdict is None where only one arm was asked.
    """

    route: str
    source: str
    seq: int
    evidence: dict[tuple[str, int, str], Evidence] = field(default_factory=dict)
    pairs: tuple[tuple[str | None, bytes], ...] = ()
    max_pairs: int = 100_000
