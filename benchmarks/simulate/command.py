"""The command of `make simulate`."""

import sys
import time
from collections.abc import Callable

import click

from benchmarks.errors import BenchError
from benchmarks.page import called, machine, write_readme
from benchmarks.simulate.alone import breaker, one_arm
from benchmarks.simulate.cost import cost
from benchmarks.simulate.findings import Findings, join
from benchmarks.simulate.healthy import healthy
from benchmarks.simulate.promotion import promotion
from benchmarks.simulate.shared import alike, timeouts
from benchmarks.simulate.speed import answering, latency, speed
from benchmarks.simulate.split import split

SECTION = "simulations", "make simulate ARGS=--write"
"""Of the README."""

DAYS, RUNS = 2, 60
QUICK_DAYS, QUICK_RUNS = 1, 10

TOPICS: dict[str, Callable[[int, int], list[Findings]]] = {
    "healthy": lambda days, _: [healthy(days)],
    "shared": lambda _, runs: [alike(max(1, runs // 6)), timeouts(max(1, runs // 4))],
    "speed": lambda _, runs: [speed(runs), latency(runs), answering(max(1, runs // 4))],
    "promotion": lambda _, runs: [promotion(50 * runs)],
    "split": lambda _, runs: [split(10 * runs)],
    "alone": lambda days, runs: [one_arm(days, runs), breaker(runs)],
    "cost": lambda *_: [cost()],
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--topic", "names", multiple=True, type=click.Choice(list(TOPICS)), help="Only this; may be repeated.")
@click.option(
    "--days", type=click.IntRange(1, 10_000), help=f"Days of each setting with nothing wrong.  [default: {DAYS}]"
)
@click.option(
    "--runs", type=click.IntRange(1, 100_000), help=f"Runs of each fault; others in proportion.  [default: {RUNS}]"
)
@click.option("--quick", is_flag=True, help=f"About two minutes: --days {QUICK_DAYS} --runs {QUICK_RUNS}.")
@click.option("--write", is_flag=True, help="Write the tables into benchmarks/README.md.")
def main(*, names: tuple[str, ...], days: int | None, runs: int | None, quick: bool, write: bool) -> None:
    """What the decision rules reach in simulated traffic, beside their goals and the rules of others. Two runs with the
    same numbers print the same figures, but for what a tick costs. Exit code 1 where a goal is not met."""
    days = days or (QUICK_DAYS if quick else DAYS)
    runs = runs or (QUICK_RUNS if quick else RUNS)
    found: list[Findings] = []
    for name, simulate in TOPICS.items():
        if not names or name in names:
            began = time.monotonic()
            for findings in simulate(days, runs):
                print(f"\n{findings.markdown()}", flush=True)
                found.append(findings)
            print(f"\n({name}: {time.monotonic() - began:.0f} s)", flush=True)
    text = join(found)
    print("\n" + text[text.rindex("Goals: ") :])
    if write:
        try:
            write_readme(SECTION, f"{machine({}, called('simulate'))}\n\n{text}")
        except BenchError as error:
            print(f"simulate: {error}", file=sys.stderr)
            sys.exit(1)
    sys.exit(1 if any(findings.missed for findings in found) else 0)
