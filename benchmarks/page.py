"""What all benchmarks print and write: tables in Markdown, where and when they were made, sections of the README."""

import datetime as dt
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.errors import BenchError

README = Path(__file__).parent / "README.md"
NONE = "-"
WORDS = {"case", "proxy", "its other processes", "goal", "verdict", "where", "function", "what", "when"}
"""Headings of columns that hold words."""


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An aligned table: words to the left, figures to the right."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    left = {column for column, heading in enumerate(headings) if heading in WORDS}

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
    peers = "".join(f" {name} {version}," for name, version in versions.items())
    return (
        f"{now:%Y-%m-%d}, `{command}`, commit {_commit()}. {_cpu_model()}, {os.cpu_count()} cores,"
        f" {_memory_gib():.0f} GiB, Linux {platform.release()}, Python {platform.python_version()},{peers}"
    ).removesuffix(",") + "."


def called(target: str) -> str:
    """How this was called, as a user of make writes it."""
    given = shlex.join(sys.argv[1:])
    return f"make {target} ARGS={shlex.quote(given)}" if given else f"make {target}"


def markers(section: tuple[str, str]) -> tuple[str, str]:
    """What a section stands between."""
    name, command = section
    return f"<!-- {name}: begin (written by {command}) -->", f"<!-- {name}: end -->"


def write_readme(section: tuple[str, str], text: str, readme: Path = README) -> None:
    """Replace what stands between the markers and keep the prose around it. BenchError when a marker is missing."""
    whole = readme.read_text()
    first, last = markers(section)
    before, begin, rest = whole.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise BenchError(f"{readme.name} has no markers to write between; put {first} and {last} into it")
    readme.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


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
