"""A rollout's state, the evidence it moves by, and what its moves leave behind. The rules are in `proxy.rollout`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from proxy.model.snapshot import Placement
from proxy.model.words import Phase, Verdict


@dataclass(frozen=True, slots=True)
class RolloutState:
    """Where one rollout stands; kept in the store, changed by compare-and-set on `revision`.

    `epoch` counts fresh starts of evidence (a new version, a retry, a configuration by which something else is seen).
    `since` is when stage and phase were entered (Unix seconds), `soaked` how long the stage has held so far (seconds;
    it grows only while the rollout progresses, and not while we are down). `weight` and `shadow` are thousandths of a
    percent, as in a `Placement`. `warned`: gates have paused this stage, so that a failed one pauses it again only when
    it has soaked anew. `measured` says how its evidence was measured, as the plan's does; empty where that is not
    known.
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
    warned: bool = False
    measured: str = ""

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
    """What was seen at one stage of one epoch of one version; all of it can be added up.

    `legacy` are the requests that legacy served because they were drawn so; those that it served as a fallback are no
    control. `agent` are those that the agent served or got a copy of; `escalated` of them it handed over. `drawn` are
    the requests of which a key was asked, `no_key` those of them that had none, `served` those that went to the agent,
    `fallbacks` those of these that legacy had to finish.

    `agent_yes` and `agent_no` are the pairs in which only the agent, and only legacy, said yes (`gates.direction`).
    `segments` are (matched, mismatched) by segment, `decisions` the comparable pairs by (legacy's decision, the
    agent's). `fields` are (pairs, repeats) that differ at a place, by its path without indices. All three are bounded
    where they are counted; what does not fit is under `OTHER`.

    `repeats` are requests that the agent was asked twice, `repeats_alike` those of them to which it said the same.
    """

    legacy: ArmCount = ArmCount()
    agent: ArmCount = ArmCount()
    matched: int = 0
    mismatched: int = 0
    incomparable: int = 0
    escalated: int = 0
    drawn: int = 0
    no_key: int = 0
    served: int = 0
    fallbacks: int = 0
    agent_yes: int = 0
    agent_no: int = 0
    repeats: int = 0
    repeats_alike: int = 0
    segments: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    decisions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    fields: Mapping[str, tuple[int, int]] = field(default_factory=dict)


MAX_BYTES: Final = 1 << 30
MAX_AGE: Final = 90 * 86_400.0
"""What is kept of a route's pairs where nothing else is said: bytes, seconds."""

OTHER: Final = "(other)"
"""Stands for segments and decisions beyond the number that is kept apart."""

ANOTHER: Final = "(another)"
"""Stands for the agent's decision beside OTHER where the two were not the same."""


class Users(NamedTuple):
    """How many different users (by their buckets) each arm served at one stage and weight."""

    legacy: int = 0
    agent: int = 0


class Arrived(NamedTuple):
    """What is new of the requests that arrived in one slot (SLOT seconds), whenever that became known: additions, which
    may be negative for the requests of a client that went away.

    Of each arm: requests that arrived, that ended, and those of the ended that were bad: failed, and slow. The agent's
    include its copies; legacy's are those drawn so, not fallbacks.
    """

    slot: int
    agent: int = 0
    agent_ended: int = 0
    agent_failed: int = 0
    agent_slow: int = 0
    legacy: int = 0
    legacy_ended: int = 0
    legacy_failed: int = 0
    legacy_slow: int = 0


class Report(NamedTuple):
    """What one replica tells the others of one rollout. `source` is the life of its control process; slots are numbered
    by that machine's monotonic clock, so they say how far apart requests of one source were, and nothing more."""

    route: str
    version: str
    epoch: int
    source: str
    rows: tuple[Arrived, ...]


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's or guard's verdict with its numbers: measured value, its confidence bound, the threshold it is held
    against, and how many samples stand behind it. `reason` is a sentence for the operator, which says what is missing.
    `dry_run`: it only reports, and holds or moves nothing."""

    name: str
    verdict: Verdict
    value: float | None
    bound: float | None
    threshold: float | None
    samples: int
    reason: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One move of a rollout, for its history: who or what moved it, from where to where, and on what evidence."""

    at: float
    route: str
    version: str
    kind: str
    """`begin`, `advance`, `complete`, `rollback`, `replan` or a verb of `Verb` (see
    `proxy.rollout.machine.Move`)."""
    actor: str
    reason: str
    before: tuple[str, str, int]
    """(phase, stage, weight in thousandths of a percent)"""
    after: tuple[str, str, int]
    gates: tuple[GateResult, ...] = ()


class Kept(NamedTuple):
    """A pair as the store keeps it.

    `document` is its JSON object without `id`, which the store gives; sealed where there are keys. `verdict` is None
    where only one arm was asked. `at` (Unix seconds) and `key_hash` (hex) are there for erasure. A pending pair is open
    until `until` (Unix seconds) for whoever names one of its `refs` (`proxy.outcomes.late`). `escalation` is the id
    under which the human finds it and `reason` the word for why (`proxy.outcomes.escalation`), both empty where there
    was none.
    """

    verdict: str | None
    document: bytes
    at: float = 0.0
    key_hash: str = ""
    refs: tuple[str, ...] = ()
    until: float = 0.0
    escalation: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """One tick's share of one route, as the store keeps it: exactly once for each (source, seq).

    `evidence` is what to add, by (version, epoch, stage). `users` are buckets seen, of users served by legacy and by
    the agent, by (version, epoch, stage, weight); adding them twice does no harm. `outcomes` are late decisions
    that were read in passing, as `proxy.storage.late` keeps them. `handed` are no pairs yet: what the agent could not
    complete and legacy is at, for the human who decides meanwhile. The last three bound what is kept of the route's
    pairs: their number, their bytes, their age in seconds.
    """

    route: str
    source: str
    seq: int
    evidence: dict[tuple[str, int, str], Evidence] = field(default_factory=dict)
    users: dict[tuple[str, int, str, int], tuple[frozenset[int], frozenset[int]]] = field(default_factory=dict)
    pairs: tuple[Kept, ...] = ()
    outcomes: tuple[bytes, ...] = ()
    handed: tuple[Kept, ...] = ()
    max_pairs: int = 100_000
    max_bytes: int = MAX_BYTES
    max_age: float = MAX_AGE
