"""The order of runs: rounds of all cases, in each case the peers one after another, a reference run between any two."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load.cases import Case
from benchmarks.load.children import BenchError, Cores
from benchmarks.load.measure import Run, cpu_by_role, measure_idle, measure_load, run_wrk, settle
from benchmarks.load.peers import PEERS, Peer, Started, started
from benchmarks.load.ratios import Reference, Sample
from benchmarks.load.upstreams import Upstreams, all_upstreams


@dataclass(frozen=True, slots=True)
class Plan:
    """What a session runs. `seconds` is one measured load, `reference_seconds` one reference run."""

    cases: tuple[Case, ...]
    peers: tuple[Peer, ...]
    rounds: int
    seconds: float
    reference_seconds: float

    def steps(self) -> Iterator[tuple[int, Case, Peer]]:
        """Idle cases have no noise to average and run once. Each round begins with another peer, so that none always
        comes first."""
        for number in range(self.rounds):
            turned = self.peers[number % len(self.peers) :] + self.peers[: number % len(self.peers)]
            for case in self.cases:
                for peer in turned:
                    if peer.takes(case) and not (case.idle and number):
                        yield number, case, peer


@dataclass(slots=True)
class Results:
    """What a session found. `failed` has one line for each run that gave no figures."""

    samples: list[Sample] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Session:
    """Upstreams and the reference proxy run from beginning to end; each measured proxy is started anew for its run."""

    def __init__(self, plan: Plan, folder: Path, cores: Cores, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._folder = folder
        self._cores = cores
        self._tell = tell
        self.results = Results()

    def run(self) -> None:
        steps = list(self._plan.steps())
        with all_upstreams(self._folder, self._cores) as upstreams:
            arms = (upstreams.legacy, upstreams.healthy)
            with started(PEERS["nginx"], self._folder / "reference", self._cores, *arms) as reference:
                before = self._reference(reference)
                for count, (number, case, peer) in enumerate(steps, start=1):
                    run = self._measure(number, case, peer, upstreams)
                    after = before if case.idle else self._reference(reference)
                    if run is not None:
                        around = () if case.idle else (before, after)
                        self.results.samples.append(Sample(case.name, peer.name, number, run, around))
                        self._tell(f"[{count}/{len(steps)}] {case.name} {peer.name}: {run}")
                    before = after

    def _measure(self, number: int, case: Case, peer: Peer, upstreams: Upstreams) -> Run | None:
        agent = upstreams.agent(case.agent)
        folder = self._folder / f"{number}-{case.name}-{peer.name}"
        try:
            with started(peer, folder, self._cores, upstreams.legacy, agent) as proxy:
                if case.idle:
                    return measure_idle(proxy, case)
                return measure_load(proxy, case, agent, self._cores, self._plan.seconds)
        except (BenchError, OSError) as error:
            line = f"{peer.name} in {case.name}, round {number + 1}: {error}"
            self._tell(f"failed: {line}")
            self.results.failed.append(line)
            return None

    def _reference(self, proxy: Started) -> Reference:
        settle(proxy)
        before = cpu_by_role(proxy)["worker"]
        load = run_wrk(self._cores.load, proxy.port, "/plain/refunds", "POST", self._plan.reference_seconds)
        settle(proxy)
        reference = Reference((cpu_by_role(proxy)["worker"] - before) / load.requests * 1e6, load.p50)
        self.results.references.append(reference)
        return reference
