"""What a session found, in Markdown for the terminal as for the README."""

from itertools import pairwise

from benchmarks.load.cases import GOALS, Goal, Measure
from benchmarks.load.ratios import Samples, Spread, spread
from benchmarks.load.session import Results
from benchmarks.load.tables import TABLES
from benchmarks.page import NONE, markdown

FIGURES = "figures", "make bench ARGS=--write"
PROFILE = "profile", "make bench ARGS='--profile --write'"
"""Sections of the README that are written: their name, and the command that writes them."""


def figures(results: Results) -> str:
    """The tables, the goals, and what went wrong."""
    samples = Samples(results.samples)
    parts = [text for table in TABLES if (text := table.markdown(samples))]
    if goals := [row for goal in GOALS if (row := goal_row(goal, samples))]:
        parts.append(f"**Goals**\n\n{markdown(('goal', 'must', 'aim', 'measured', 'verdict'), goals)}")
    parts.append(_reference_line(results))
    parts += notes(results)
    return "\n\n".join(parts)


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
        NONE if goal.aim is None else f"{goal.aim:g}{unit}",
        str(found),
        verdict(goal, found),
    )


def verdict(goal: Goal, found: Spread) -> str:
    if goal.aim is not None and goal.meets(found.middle, goal.aim):
        return "met, and the aim too"
    return "met" if goal.meets(found.middle, goal.must) else "**not met**"


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
