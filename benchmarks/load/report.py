"""The tables, in Markdown for the terminal as for the README, and writing them there."""

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.load.cases import CASES, GOALS, Case, Goal, Measure
from benchmarks.load.children import BenchError
from benchmarks.load.measure import Run
from benchmarks.load.peers import PEERS
from benchmarks.load.ratios import Samples, Spread, spread
from benchmarks.load.session import Results

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- figures: begin (written by make bench ARGS=--write) -->", "<!-- figures: end -->"
NONE = "-"

_HEADINGS = (
    "case", "proxy", "µs CPU", "x nginx", "x Envoy", "x reference", "requests/s", "p50 ms", "p99 ms", "peak MiB",
    "to agent", "recorded", "its other processes",
)  # fmt: skip
_WORDS = {"case", "proxy", "its other processes", "goal", "verdict"}
"""Headings of columns that hold words."""


def tables(results: Results) -> str:
    """The cases, the goals, and what went wrong."""
    samples = Samples(results.samples)
    rows = [
        _row(case, name, samples)
        for case in CASES
        for name in PEERS
        if samples.of(case.name, name)
    ]  # fmt: skip
    parts = [markdown(_HEADINGS, rows)]
    if goals := [row for goal in GOALS if (row := goal_row(goal, samples))]:
        parts.append(markdown(("goal", "must", "aim", "measured", "verdict"), goals))
    parts.append(_reference_line(results))
    parts += notes(results)
    return "\n\n".join(parts)


def _row(case: Case, peer: str, samples: Samples) -> tuple[str, ...]:
    found = samples.of(case.name, peer)
    runs = [sample.run for sample in found]
    loads = [run.load for run in runs if run.load]
    shares = [run.agent_share for run in runs if run.agent_share is not None]
    return (
        case.name,
        peer,
        f"{median(run.cpu['worker'] for run in runs):.1f}" if loads else NONE,
        _to_peer(case, peer, "nginx", samples),
        _to_peer(case, peer, "envoy", samples),
        _short(samples.to_reference(case.name, peer)),
        f"{median(load.per_second for load in loads):,.0f}" if loads else NONE,
        f"{median(load.p50 for load in loads):.2f}" if loads else NONE,
        f"{median(load.p99 for load in loads):.2f}" if loads else NONE,
        f"{max(run.memory['worker'] for run in runs) / (1 << 20):.1f}",
        f"{median(shares):.1%}" if shares else NONE,
        f"{median(run.recorded_share for run in runs):.1%}" if any(run.recorded_share for run in runs) else NONE,
        _others(runs),
    )


def _to_peer(case: Case, peer: str, other: str, samples: Samples) -> str:
    found = None if peer == other else samples.to_peer(case, peer, other)
    return str(found) if found else NONE


def _short(found: Spread | None) -> str:
    return f"{found.middle:.2f}" if found else NONE


def _others(runs: Sequence[Run]) -> str:
    """What the processes beside the worker used: `control 12.3 µs 58 MiB`."""
    said = []
    for role in runs[0].memory:
        if role != "worker":
            cpu = f" {median(run.cpu[role] for run in runs):.1f} µs" if runs[0].cpu else ""
            said.append(f"{role}{cpu} {max(run.memory[role] for run in runs) / (1 << 20):.0f} MiB")
    return ", ".join(said) or NONE


def goal_row(goal: Goal, samples: Samples) -> tuple[str, ...] | None:
    """None when this session did not measure it."""
    found = samples.reached(goal)
    if found is None:
        return None
    unit = " MiB" if goal.measure is Measure.MEMORY else " x"
    over = f" over {goal.peer}'s in {goal.other}" if goal.peer else ""
    return (
        f"{goal.measure} in {goal.case}{over}",
        f"{goal.must:g}{unit}",
        f"{goal.aim:g}{unit}",
        str(found),
        verdict(goal, found),
    )


def verdict(goal: Goal, found: Spread) -> str:
    if found.middle <= goal.aim:
        return "met, and the aim too"
    return "met" if found.middle <= goal.must else "**not met**"


def _reference_line(results: Results) -> str:
    cpu = spread([reference.cpu for reference in results.references])
    if cpu is None:
        return "No reference run was made."
    return (
        f"Reference (plain nginx, POST 1 KiB): {cpu.middle:.1f} µs of CPU per request, from {cpu.low:.1f} to"
        f" {cpu.high:.1f} in {len(results.references)} runs. Reference run over the one before it: {_noise(results)}."
    )


def _noise(results: Results) -> str:
    """How far two reference runs beside each other are apart: the noise that one pairing leaves."""
    figures = [reference.cpu for reference in results.references]
    steps = spread([after / before for before, after in pairwise(figures)])
    return str(steps) if steps else NONE


def notes(results: Results) -> list[str]:
    """One line for each thing a reader must know: failed runs, errors under load."""
    lines = [f"Failed: {line}" for line in results.failed]
    lines += [
        f"Errors: {sample.run.load.errors} of {sample.run.load.requests} requests of {sample.peer} in {sample.case},"
        f" round {sample.round + 1}"
        for sample in results.samples
        if sample.run.load and sample.run.load.errors
    ]  # fmt: skip
    return ["\n".join(f"- {line}" for line in lines)] if lines else []


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An aligned table: words to the left, figures to the right."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    left = {column for column, heading in enumerate(headings) if heading in _WORDS}

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = (f":{'-' * (width + 1)}" if i in left else f"{'-' * (width + 1)}:" for i, width in enumerate(widths))
    return "\n".join([line(headings), f"|{'|'.join(rule)}|", *map(line, rows)])


def machine(versions: Mapping[str, str], command: str) -> str:
    """Where, when and with what the figures were made."""
    now = dt.datetime.now(dt.UTC)
    peers = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{now:%Y-%m-%d}, `{command}`, commit {_commit()}. {_cpu_model()}, {os.cpu_count()} cores,"
        f" {_memory_gib():.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}. {peers}."
    )


def write_readme(text: str, readme: Path = README) -> None:
    """Replace what stands between the markers and keep the prose around it. BenchError when a marker is missing."""
    whole = readme.read_text()
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"{readme.name} has no markers to write between; put {BEGIN} and {END} into it")
    readme.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"],
        cwd=README.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return told.stdout.strip() or "unknown"


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
