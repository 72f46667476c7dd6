"""Gates, guard and segments on a terminal of 80 columns: a line of numbers each, and below a check what they mean."""

from collections.abc import Iterable
from typing import Any, Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from proxy.cli.tables import NONE, grid, share, span, verdict

_COUNTS: Final = frozenset({"min_samples"})
_SPANS: Final = frozenset({"soak"})
_NUMBERS: Final = frozenset({"kappa"})

Check = dict[str, Any]


def gates_view(gates: Iterable[Check], *, brief: bool = False) -> list[RenderableType]:
    """`bound` is what the value surely is, `asked` what it is held against. In brief, passed ones have no sentence."""
    silent = {"passed"} if brief else set()
    return _numbered(("gate", "verdict", "value", "bound", "asked", "samples"), gates, "dry run: ", silent)


def guard_view(rules: Iterable[Check], *, brief: bool = False) -> list[RenderableType]:
    """`nearness` is how much of the evidence is there that a rollback needs. A rule that could roll nothing back,
    because the agent serves nobody, only reports. In brief, only what failed has a sentence."""
    silent = {"passed", "inconclusive"} if brief else set()
    return _numbered(("guard", "verdict", "value", "nearness", "allowed", "samples"), rules, "report only: ", silent)


def _numbered(heads: tuple[str, ...], checks: Iterable[Check], mark: str, silent: set[str]) -> list[RenderableType]:
    shown = list(checks)
    rows = [heads, *map(_row, shown)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    parts: list[RenderableType] = [Text(""), Text(_line(heads, widths), "bold")]
    for row, check in zip(rows[1:], shown, strict=True):
        line = Text(_line(row, widths))
        line.stylize(verdict(row[1]).style, widths[0] + 2, widths[0] + 2 + len(row[1]))
        parts.append(line)
        if check["verdict"] not in silent:
            said = Text(mark if check["dry_run"] else "", "yellow") + Text(check["reason"])
            parts.append(Padding(said, (0, 0, 0, 4), expand=False))
    return parts if shown else []


def segments_view(segments: Iterable[dict[str, Any]]) -> list[RenderableType]:
    """Agreement within each kind of request."""
    table = grid("segment", "verdict", "agree", "surely", "matched", "mismatched")
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    for segment in segments:
        table.add_row(
            Text(segment["name"]),
            verdict(segment["verdict"]),
            share(segment["ratio"]),
            share(segment["lower_bound"]),
            f"{segment['matched']:,}",
            f"{segment['mismatched']:,}",
        )
    return [Text(""), table] if table.row_count else []


def _row(check: Check) -> tuple[str, ...]:
    numbers = (_number(check["name"], check[which]) for which in ("value", "bound", "threshold"))
    return (check["name"], check["verdict"], *numbers, f"{check['samples']:,}" if check["samples"] else NONE)


def _number(name: str, value: float | None) -> str:
    if value is None:
        return NONE
    if name in _SPANS:
        return span(round(value))
    if name in _COUNTS:
        return f"{value:,.0f}"
    return f"{value:.2f}" if name in _NUMBERS else share(value)


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
