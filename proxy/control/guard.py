"""The guard of one rollout: the sequential tests of `proxy.analysis.sequential`, fed with what all workers of all
replicas reported together, each request by when it arrived. A failed verdict takes the traffic from the agent; an
inconclusive one does nothing.

What is watched, for failures and for slowness each:
- against legacy at the same time, while it serves anybody;
- where it serves nobody any more (full weight, no holdback), against what its rate was last;
- against an objective, wherever one is set.

While the agent serves nobody (shadow) all this only reports; when it begins to serve, the tests begin again, with what
is known of legacy.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
import structlog

from proxy.analysis.block import Block
from proxy.analysis.ledger import Ledger, Stretch
from proxy.analysis.sequential import Finding, OneArm, TwoArms
from proxy.config.gates_schema import ErrorRate, Latency
from proxy.config.gates_schema import Guard as Limits
from proxy.config.rollout_schema import Rollout
from proxy.control.arrivals import Key
from proxy.model.rollouts import Arrived, GateResult, RolloutState
from proxy.model.snapshot import BUCKETS
from proxy.model.words import Verdict

_log = structlog.get_logger()

ERROR_RATE: Final = "error_rate"
LATENCY: Final = "latency"

WAIT: Final = 67.0
"""Seconds after which what is open can no longer end by a timeout, with the timeouts that upstreams have by default."""

REFERENCES: Final = (0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
"""What `Guard.reference` may be: few, so that the snapshot does not change with each request."""

_LOWER: Final = 0.8
"""It falls to a step when legacy's rate is so far below that."""

_FORMAT: Final = 1


class Guard:
    """The tests of one epoch. A later epoch gets a new one, since it knows nothing of earlier faults."""

    def __init__(self, rollout: Rollout, state: RolloutState, *, wait: float = WAIT) -> None:
        """`wait`: seconds after which a request that is open can no longer end by a timeout, at either upstream."""
        self.key: Key = (state.route, state.version, state.epoch)
        self.reference = REFERENCES[0]
        """The error rate that is normal here, for the workers' breakers: legacy's recent one, one of `REFERENCES`."""
        self._limits = rollout.guard
        self._ledger = Ledger(wait)
        self._kinds = self._make_kinds()
        self._serving = False
        self._lost = 0

    def fits(self, rollout: Rollout, state: RolloutState) -> bool:
        """Whether it is still the guard for this state under this configuration."""
        return self.key == (state.route, state.version, state.epoch) and self._limits == rollout.guard

    def follow(self, rollout: Rollout, wait: float) -> None:
        """Go on under a changed configuration, with what is on its way. Where the limits changed, the tests begin
        again, with what is known of legacy; where another time is slow, with nothing that is on its way."""
        self._ledger.wait = wait
        if self._limits != rollout.guard:
            if _slow(self._limits) != _slow(rollout.guard):
                self._ledger, self._lost = Ledger(wait), 0
            memory, self._limits = self.dump(), rollout.guard
            self.restore(memory)

    def add(self, source: str, rows: Iterable[Arrived]) -> None:
        """What `source` reports: empty for our own workers, else the life of another replica's control process, whose
        slots are numbered by its own clock."""
        self._ledger.add(source, rows)

    def step(self, slot: int, state: RolloutState) -> tuple[GateResult, ...]:
        """What the tests say now, `slot` being the present one by our clock. At weight 0 they only report."""
        settled, tail = self._ledger.settle(slot), self._ledger.tail()
        alone, serving = state.weight >= BUCKETS, state.weight > 0
        for kind in self._kinds:
            kind.add(settled, alone=alone)
            if serving and not self._serving:
                kind.restart()
        self._serving = serving
        self._refer()
        self._tell_lost()
        return tuple(result for kind in self._kinds for result in kind.results(tail, alone=alone, dry_run=not serving))

    def dump(self) -> bytes:
        """What it remembers, but for what is not settled yet: a few hundred numbers."""
        return orjson.dumps(
            {
                "format": _FORMAT,
                "key": self.key,
                "limits": self._limits.model_dump_json(),
                "serving": self._serving,
                "reference": self.reference,
                "kinds": {kind.name: kind.dump() for kind in self._kinds},
            }
        )

    def restore(self, data: bytes) -> bool:
        """Go on from what `dump` gave. False, and unchanged, where that is another version's or nothing we know.

        Where the epoch or the limits were others, only legacy's history is taken over; and none of slowness, where
        another time was slow.
        """
        try:
            known = orjson.loads(data)
            if known["format"] != _FORMAT or known["key"][:2] != [*self.key[:2]]:
                return False
            limits, kept = Limits.model_validate_json(known["limits"]), known["kinds"]
            kinds, history_only = self._make_kinds(), limits != self._limits or known["key"] != [*self.key]
            for kind in kinds:
                if kind.name in kept and (kind.name != LATENCY or _slow(limits) == _slow(self._limits)):
                    kind.restore(kept[kind.name], history_only=history_only)
            serving, reference = bool(known["serving"]), known["reference"]
        except (ValueError, KeyError, TypeError) as error:
            _log.warning("guard_memory_unfit", route=self.key[0], problem=str(error))
            return False
        self._kinds, self._serving = kinds, serving
        self.reference = reference if reference in REFERENCES else REFERENCES[0]
        return True

    def _make_kinds(self) -> list["_Kind"]:
        kinds = [_Kind(ERROR_RATE, self._limits.error_rate, lambda stretch: stretch.failures)]
        if self._limits.latency is not None:
            kinds.append(_Kind(LATENCY, self._limits.latency, lambda stretch: stretch.slowness))
        return kinds

    def _refer(self) -> None:
        rate = self._kinds[0].legacy_rate
        if rate is None:
            return
        if rate > self.reference:
            self.reference = _step_over(rate)
        else:
            self.reference = min(self.reference, _step_over(rate / _LOWER))

    def _tell_lost(self) -> None:
        if self._ledger.lost > self._lost:
            _log.warning("guard_rows_dropped", route=self.key[0], rows=self._ledger.lost - self._lost)
            self._lost = self._ledger.lost


def _slow(limits: Limits) -> float | None:
    return limits.latency.slower_than if limits.latency is not None else None


def _step_over(rate: float) -> float:
    return next((step for step in REFERENCES if step >= rate), REFERENCES[-1])


class _Kind:
    """The tests of one kind of bad outcome."""

    def __init__(self, name: str, limits: ErrorRate | Latency, pick: Callable[[Stretch], Block]) -> None:
        """`pick` takes this kind's counts from a stretch."""
        self.name = name
        self._limits, self._pick = limits, pick
        self._both = TwoArms(limits.margin)
        self._last: OneArm | None = None  # against legacy as it was last; only where it serves nobody any more
        self._objective = OneArm(limits.objective) if limits.objective is not None else None

    @property
    def legacy_rate(self) -> float | None:
        return self._both.rate

    def restart(self) -> None:
        self._both.restart()
        if self._last is not None:
            self._last.restart()
        if self._objective is not None:
            self._objective.restart()

    def add(self, settled: Sequence[Stretch], *, alone: bool) -> None:
        """`alone`: legacy serves nobody any more."""
        if not alone:
            self._last = None
        elif self._last is None and self._both.reference is not None:
            self._last = OneArm(self._both.reference)
        test = self._last or self._both
        for block in map(self._pick, settled):
            test.add(block)
            if self._objective is not None:
                self._objective.add(block)

    def results(self, tail: Sequence[Stretch], *, alone: bool, dry_run: bool) -> list[GateResult]:
        blocks, pending = [self._pick(stretch) for stretch in tail], sum(stretch.pending for stretch in tail)
        results = [self._against_legacy(blocks, pending, alone=alone, dry_run=dry_run)]
        if self._objective is not None:
            finding = self._objective.judge(blocks)
            results.append(_result(f"{self.name}_objective", finding, self._objective.reference, dry_run=dry_run))
        return results

    def _against_legacy(self, blocks: list[Block], pending: int, *, alone: bool, dry_run: bool) -> GateResult:
        if self._last is not None:
            return _result(self.name, self._last.judge(blocks), self._last.reference, dry_run=dry_run)
        finding = self._both.judge(blocks)
        if alone and not finding.fired:
            return self._nothing_to_compare(finding)
        result = _result(self.name, finding, finding.legacy_rate + self._limits.margin, dry_run=dry_run)
        if finding.fired and pending and finding is not self._both.finding():
            return replace(result, reason=f"{result.reason}; {pending} of legacy's are still open and count as bad")
        return result

    def _nothing_to_compare(self, finding: Finding) -> GateResult:
        value = finding.agent_rate if finding.agent else None
        reason = (
            "legacy serves nobody at this weight, and its rate before is not known, so there is nothing to compare with"
        )
        reason += (
            "; only the objective is watched" if self._objective is not None
            else f": set rollout.holdback, or rollout.guard.{self.name}.objective"
        )  # fmt: skip
        return GateResult(self.name, Verdict.INCONCLUSIVE, value, None, None, finding.agent, reason)

    def dump(self) -> dict[str, Any]:
        return {"both": self._both.dump(), "last": _dumped(self._last), "objective": _dumped(self._objective)}

    def restore(self, data: dict[str, Any], *, history_only: bool) -> None:
        """Raises ValueError, KeyError or TypeError on anything that `dump` did not give."""
        self._both.restore(data["both"], history_only=history_only)
        if data["last"] is not None and not history_only:
            self._last = OneArm(0.0)
            self._last.restore(data["last"])
        if self._objective is not None and not history_only:
            self._objective.restore(data["objective"])


def _dumped(test: OneArm | None) -> list[object] | None:
    return test.dump() if test is not None else None


def _result(name: str, finding: Finding, threshold: float, *, dry_run: bool) -> GateResult:
    """`value` is the agent's rate, `threshold` the one it may have, `bound` how near the test is to rolling back (0 to
    1). Never passed: a guard cannot show that all is well, only that it is not."""
    verdict = Verdict.FAILED if finding.fired else Verdict.INCONCLUSIVE
    value = finding.agent_rate if finding.agent else None
    reason = finding.reason if finding.agent else "no agent requests yet"
    return GateResult(name, verdict, value, finding.score, threshold, finding.agent, reason, dry_run)
