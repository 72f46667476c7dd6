"""The order of runs: rounds of all cases, in each case the peers one after another, a reference run between any two."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.errors import BenchError
from benchmarks.load.cases import CASES, Case, Kind
from benchmarks.load.children import Cores
from benchmarks.load.crowd import measure_crowd
from benchmarks.load.measure import Run, cpu_by_role, measure_idle, measure_load, per_request, settle
from benchmarks.load.peers import PEERS, Peer, Started, started
from benchmarks.load.place import Scene
from benchmarks.load.rate import measure_rate
from benchmarks.load.ratios import Reference, Sample
from benchmarks.load.upstreams import Upstreams
from benchmarks.load.wrk import run_wrk

REFERENCE = next(case for case in CASES if case.name == "plain-post")
_UNPAIRED = {Kind.IDLE, Kind.RATE}
"""Kinds that no reference run stands beside: a peak of memory has no noise, and a rate has its own (see `rate`)."""
MEASURES: Mapping[Kind, Callable[[Started, Case, Upstreams, Cores, float], Run]] = {
    **dict.fromkeys(Kind, measure_load),
    Kind.CROWD: measure_crowd,
    Kind.RATE: measure_rate,
    Kind.IDLE: measure_idle,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a session runs. `rounds` is None where each case has its own. `seconds` is one measured load,
    `reference_seconds` one reference run."""

    cases: tuple[Case, ...]
    peers: tuple[Peer, ...]
    rounds: int | None
    seconds: float
    reference_seconds: float

    def steps(self) -> Iterator[tuple[int, Case, Peer]]:
        """Idle cases have no noise to average and run once. Each round begins with another peer, so that none always
        comes first."""
        for number in range(max(map(self._rounds, self.cases))):
            turned = self.peers[number % len(self.peers) :] + self.peers[: number % len(self.peers)]
            for case in self.cases:
                for peer in turned:
                    if peer.takes(case) and number < self._rounds(case):
                        yield number, case, peer

    def _rounds(self, case: Case) -> int:
        return case.rounds if self.rounds is None or case.kind is Kind.IDLE else self.rounds


@dataclass(slots=True)
class Results:
    """What a session found. `failed` has one line for each run that gave no figures."""

    samples: list[Sample] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Session:
    """Upstreams and the reference proxy run from beginning to end; each measured proxy is started anew for its run."""

    def __init__(self, plan: Plan, scene: Scene, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._scene = scene
        self._tell = tell
        self.results = Results()

    def run(self) -> None:
        steps = list(self._plan.steps())
        with ExitStack() as stack:
            upstreams = stack.enter_context(self._scene.upstreams())
            place = self._scene.place("reference", REFERENCE, upstreams)
            reference = stack.enter_context(started(PEERS["nginx"], place, self._scene.cores))
            before = self._reference(reference)
            for count, (number, case, peer) in enumerate(steps, start=1):
                run = self._measure(count, number, case, peer, upstreams)
                paired = case.kind not in _UNPAIRED
                after = self._reference(reference) if paired else before
                if run is not None:
                    around = (before, after) if paired else ()
                    self.results.samples.append(Sample(case.name, peer.name, number, run, around))
                    self._tell(f"[{count}/{len(steps)}] {case.name} {peer.name}: {run}")
                before = after

    def _measure(self, count: int, number: int, case: Case, peer: Peer, upstreams: Upstreams) -> Run | None:
        place = self._scene.place(f"{count}-{case.name}-{peer.name}", case, upstreams, count)
        try:
            with started(peer, place, self._scene.cores) as proxy:
                return MEASURES[case.kind](proxy, case, upstreams, self._scene.cores, self._plan.seconds)
        except (BenchError, OSError) as error:
            line = f"{peer.name} in {case.name}, round {number + 1}: {error}"
            self._tell(f"failed: {line}")
            self.results.failed.append(line)
            return None

    def _reference(self, proxy: Started) -> Reference:
        settle(proxy)
        before = cpu_by_role(proxy)
        load = run_wrk(self._scene.cores.load, proxy.port, REFERENCE, self._plan.reference_seconds)
        settle(proxy)
        cpu = per_request(before, cpu_by_role(proxy), load.requests)["worker"]
        reference = Reference(cpu, load.p50, load.per_second)
        self.results.references.append(reference)
        return reference
