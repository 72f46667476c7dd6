"""The tables of figures: each tells of some kinds of cases, in columns of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks.load.cases import CASES, MIB, Case, Kind, Measure
from benchmarks.load.measure import Run
from benchmarks.load.peers import PEERS
from benchmarks.load.ratios import Samples, Spread, spread
from benchmarks.load.wrk import Load
from benchmarks.page import NONE, markdown


@dataclass(frozen=True, slots=True)
class Row:
    """What one peer did in one case; each method is a cell."""

    case: Case
    peer: str
    samples: Samples

    @property
    def runs(self) -> list[Run]:
        return [sample.run for sample in self.samples.of(self.case.name, self.peer)]

    @property
    def loads(self) -> list[Load]:
        return [run.load for run in self.runs if run.load]

    def cpu(self) -> str:
        return f"{median(run.cpu['worker'] for run in self.runs):.1f}" if self.loads else NONE

    def cpu_to(self, other: str) -> str:
        return self._to(other, Measure.CPU)

    def throughput_to(self, other: str) -> str:
        return self._to(other, Measure.THROUGHPUT)

    def to_reference(self) -> str:
        found = self.samples.to_reference(self.case.name, self.peer)
        return f"{found.middle:.2f}" if found else NONE

    def cpu_to_base(self) -> str:
        """Over that of the same peer in the case that this one is built on."""
        return said(self.samples.ratio(Measure.CPU, (self.case.name, self.peer), (self.case.base, self.peer)))

    def per_second(self) -> str:
        return f"{median(load.per_second for load in self.loads):,.0f}" if self.loads else NONE

    def mib_per_second(self) -> str:
        """Of bodies, in the direction that the case is about."""
        size = self.case.answer or self.case.sent
        return f"{median(load.per_second for load in self.loads) * size / MIB:,.0f}"

    def busy(self) -> str:
        """The worker's share of its core."""
        shares = [run.cpu["worker"] * run.load.per_second / 1e6 for run in self.runs if run.load]
        return f"{min(1.0, median(shares)):.0%}"

    def p50(self) -> str:
        return f"{median(load.p50 for load in self.loads):.2f}" if self.loads else NONE

    def p99(self) -> str:
        return f"{median(load.p99 for load in self.loads):.2f}" if self.loads else NONE

    def peak(self) -> str:
        return f"{max(run.memory['worker'] for run in self.runs) / MIB:.1f}"

    def to_agent(self) -> str:
        shares = [run.agent_share for run in self.runs if run.agent_share is not None]
        return f"{median(shares):.1%}" if shares else NONE

    def recorded(self) -> str:
        shares = [run.recorded_share for run in self.runs]
        return f"{median(shares):.1%}" if any(shares) else NONE

    def others(self) -> str:
        """What the processes beside the worker used: `control 12.3 µs 58 MiB`."""
        told = []
        for role in self.runs[0].memory:
            if role != "worker":
                cpu = f" {median(run.cpu[role] for run in self.runs):.1f} µs" if self.runs[0].cpu else ""
                told.append(f"{role}{cpu} {max(run.memory[role] for run in self.runs) / MIB:.0f} MiB")
        return ", ".join(told) or NONE

    def micros(self, percent: str) -> str:
        return f"{median(getattr(load, percent) for load in self.loads) * 1000:.0f}"

    def direct(self, percent: str) -> str:
        return f"{median(getattr(run.direct, percent) for run in self.runs) * 1000:.0f}"

    def added(self, percent: str) -> str:
        """µs over the same straight on the upstream, run by run."""
        found = [getattr(run.load, percent) - getattr(run.direct, percent) for run in self.runs]
        return said(spread([value * 1000 for value in found]), digits=0)

    def _to(self, other: str, measure: Measure) -> str:
        return NONE if self.peer == other else said(self.samples.to_peer(self.case, self.peer, other, measure))


def said(found: Spread | None, digits: int = 2) -> str:
    return found.said(digits) if found else NONE


Column = tuple[str, Callable[[Row], str]]
_BY_CPU: tuple[Column, ...] = (
    ("µs CPU", Row.cpu),
    ("x nginx", lambda row: row.cpu_to("nginx")),
    ("x Envoy", lambda row: row.cpu_to("envoy")),
)


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    kinds: tuple[Kind, ...]
    columns: tuple[Column, ...]

    def markdown(self, samples: Samples) -> str | None:
        """None when this session has nothing for it."""
        rows = [
            Row(case, peer, samples)
            for case in CASES
            for peer in PEERS
            if case.kind in self.kinds and samples.of(case.name, peer)
        ]  # fmt: skip
        if not rows:
            return None
        headings = ["case", "proxy", *(heading for heading, _ in self.columns)]
        cells = [[row.case.name, row.peer, *(cell(row) for _, cell in self.columns)] for row in rows]
        return f"**{self.title}**\n\n{markdown(headings, cells)}"


TABLES = (
    Table(
        "Requests, in a closed loop of 64 connections",
        (Kind.LOAD, Kind.IDLE),
        (
            *_BY_CPU,
            ("x reference", Row.to_reference),
            ("requests/s", Row.per_second),
            ("p50 ms", Row.p50),
            ("p99 ms", Row.p99),
            ("peak MiB", Row.peak),
            ("to agent", Row.to_agent),
            ("recorded", Row.recorded),
            ("its other processes", Row.others),
        ),
    ),
    Table(
        "TLS, two workers",
        (Kind.TLS, Kind.WORKERS),
        (
            *_BY_CPU,
            ("x itself without", Row.cpu_to_base),
            ("requests/s", Row.per_second),
            ("p50 ms", Row.p50),
            ("p99 ms", Row.p99),
            ("peak MiB", Row.peak),
            ("to agent", Row.to_agent),
        ),
    ),
    Table(
        "More connections",
        (Kind.CROWD,),
        (
            *_BY_CPU,
            ("x itself with 64", Row.cpu_to_base),
            ("requests/s", Row.per_second),
            ("p50 ms", Row.p50),
            ("peak MiB", Row.peak),
            ("to agent", Row.to_agent),
        ),
    ),
    Table(
        "Larger bodies",
        (Kind.BODIES,),
        (
            ("MiB/s", Row.mib_per_second),
            ("x nginx's MiB/s", lambda row: row.throughput_to("nginx")),
            ("its core busy", Row.busy),
            ("µs CPU", Row.cpu),
            ("x nginx's CPU", lambda row: row.cpu_to("nginx")),
            ("peak MiB", Row.peak),
        ),
    ),
    Table(
        "Latency at a fixed rate",
        (Kind.RATE,),
        (
            ("p50 µs", lambda row: row.micros("p50")),
            ("direct", lambda row: row.direct("p50")),
            ("added", lambda row: row.added("p50")),
            ("p99 µs", lambda row: row.micros("p99")),
            ("direct", lambda row: row.direct("p99")),
            ("added", lambda row: row.added("p99")),
            ("µs CPU", Row.cpu),
        ),
    ),
)
