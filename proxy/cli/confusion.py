"""What the agent makes of each of legacy's decisions, and where the arms differ, on a terminal of 80 columns."""

from collections.abc import Iterable
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from proxy.cli.tables import NONE, compact, grid, share
from proxy.model.rollouts import ANOTHER, OTHER

MAX_COLUMNS: Final = 4
"""The agent's decisions that have a column; where there are more, the last is for all others."""
MAX_ROWS: Final = 8
MAX_FIELDS: Final = 8
_ROW_NAME: Final = 16
_COLUMN_NAME: Final = 8
_REST: Final = "others"


def confusion_view(evidence: dict[str, Any]) -> list[RenderableType]:
    """Pairs by legacy's decision (down) and the agent's (across); at the end of a row how much of that decision the
    agent shares, what that surely is, all rows at once, and what its misses cost. Nothing without pairs."""
    counts = {(cell["legacy"], cell["agent"]): cell["pairs"] for cell in evidence["confusion"]}
    if not counts:
        return []
    across, rest = _across(counts)
    table = grid("legacy \\ agent", *(_cut(name, _COLUMN_NAME) for name in across), *rest, "agree", "surely", "cost")
    for row in evidence["classes"][:MAX_ROWS]:
        decision = row["decision"]
        known = [counts.get((decision, name), 0) for name in across]
        others = row["agreed"] + row["missed"] - sum(known)
        table.add_row(
            Text(_cut(decision, _ROW_NAME)),
            *(_count(number, name == decision) for name, number in zip(across, known, strict=True)),
            *(_count(others, False) for _ in rest),
            share(row["ratio"]),
            share(row["lower_bound"]),
            _cost(row["cost"]),
        )
    parts: list[RenderableType] = [table]
    if (more := len(evidence["classes"]) - MAX_ROWS) > 0:
        parts.append(Text(f"and {more} rarer decisions, which --json shows", "dim"))
    return parts


def fields_view(fields: Iterable[dict[str, Any]]) -> list[RenderableType]:
    """Where the arms differ, and how often the agent differs there from itself."""
    table = grid("differs", "pairs", "itself", "field")
    for field in [*fields][:MAX_FIELDS]:
        said = Text(field["path"])
        if field["noisy"]:
            said += Text("  noise", "yellow")
        table.add_row(share(field["raw_rate"]), f"{field['pairs']:,}", share(field["noise_rate"]), said)
    return [table] if table.row_count else []


def consistency(document: dict[str, Any]) -> str:
    """Nothing where nothing was asked twice."""
    found = document["consistency"]
    if found["ratio"] is None:
        return ""
    return f"{share(found['ratio'])} of {found['repeats']:,} asked twice alike, surely {share(found['lower_bound'])}"


def misses(document: dict[str, Any]) -> str:
    """Nothing where each costs 1, which says no more than their number."""
    found = document["misses"]
    if found["cost_per_pair"] is None or found["cost"] == found["pairs"]:
        return ""
    return f"{found['pairs']:,}, which cost {found['cost']:,g}; {found['cost_per_pair']:.3g} a pair"


def _across(counts: dict[tuple[str, str], int]) -> tuple[list[str], list[str]]:
    """The agent's commonest decisions, and the head of the column for the others where there are some."""
    totals: dict[str, int] = {}
    for (_, agent), pairs in counts.items():
        totals[agent] = totals.get(agent, 0) + pairs
    names = sorted(totals, key=lambda name: (name in (OTHER, ANOTHER), -totals[name], name))
    if len(names) <= MAX_COLUMNS:
        return names, []
    return names[: MAX_COLUMNS - 1], [_REST]


def _count(number: int, agrees: bool) -> Text:
    shown = f"{number:,}" if number < 1_000_000 else compact(number)
    return Text(shown if number else NONE, "green" if agrees else "red" if number else "dim")


def _cost(cost: float) -> str:
    return compact(round(cost)) if cost >= 1000 else f"{cost:.4g}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
