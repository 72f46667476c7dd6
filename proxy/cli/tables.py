"""What the commands show on a terminal: tables of routes, gates, pairs. Text from outside is never read as markup."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_PHASES: Final = {"progressing": "green", "completed": "bold green", "paused": "yellow", "degraded": "bold red"}
_VERDICTS: Final = {"passed": "green", "failed": "red", "matched": "green", "mismatched": "red"}
_NONE: Final = "-"


def routes_table(routes: Iterable[dict[str, Any]], now: datetime) -> RenderableType:
    table = _table("route", "phase", "stage", "weight", "shadow", "for", "legacy", "agent", "agreement", "reason")
    for route in routes:
        if route.get("phase") is None:
            table.add_row(route["name"], Text(f"all to {route['legacy']}", "dim"))
            continue
        totals = route["totals"]
        table.add_row(
            Text(route["name"]),
            Text(route["phase"], _PHASES.get(route["phase"], "")),
            Text(route["stage"]),
            f"{route['weight']:g} %",
            f"{route['shadow_percent']:g} %",
            age(route["since"], now) if route["since"] else _NONE,
            _arm(totals["legacy"]),
            _arm(totals["agent"]),
            _agreement(route["agreement"]),
            Text(route["reason"] or ""),
        )
    return table


def route_view(route: dict[str, Any], now: datetime) -> RenderableType:
    """One route: its line, and below it why it stands where it stands."""
    checks = [("gate", gate) for gate in route.get("gates") or ()] + [
        ("guard", rule) for rule in route.get("guard") or ()
    ]
    parts = [routes_table([route], now)]
    if checks:
        table = _table("check", "name", "verdict", "value", "bound", "threshold", "samples", "reason")
        for kind, check in checks:
            table.add_row(
                kind,
                Text(check["name"]),
                Text(check["verdict"], _VERDICTS.get(check["verdict"], "yellow")),
                *(number(check[key]) for key in ("value", "bound", "threshold", "samples")),
                Text(check["reason"] or ""),
            )
        parts.append(table)
    return Group(*parts)


def pairs_table(pairs: Iterable[dict[str, Any]]) -> RenderableType:
    table = _table("at", "pair", "verdict", "mode", "legacy", "agent", "differs in")
    for pair in pairs:
        table.add_row(
            Text(pair["at"]),
            Text(pair["id"]),
            Text(pair["verdict"] or _NONE, _VERDICTS.get(pair["verdict"], "yellow")),
            Text(pair["mode"]),
            Text(_outcome(pair.get("legacy"))),
            Text(_outcome(pair.get("agent"))),
            Text(", ".join(difference["path"] for difference in pair.get("differences") or ())),
        )
    return table


def age(since: str, now: datetime) -> str:
    """How long ago an RFC 3339 time is, in its two largest units."""
    seconds = max(0, int((now - datetime.fromisoformat(since).astimezone(UTC)) / timedelta(seconds=1)))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {seconds % 60}s" if minutes else f"{seconds}s"


def number(value: float | None) -> str:
    return _NONE if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _arm(total: dict[str, int]) -> str:
    requests, failed = total["requests"], total["failed"]
    return f"{requests:,} ({failed / requests:.2%} failed)" if requests else "0"


def _agreement(agreement: dict[str, Any]) -> str:
    if agreement["ratio"] is None:
        return _NONE
    bound = agreement["lower_bound"]
    return f"{agreement['ratio']:.1%}" + (f" (at least {bound:.1%})" if bound is not None else "")


def _outcome(outcome: dict[str, Any] | None) -> str:
    if outcome is None:
        return _NONE
    if outcome.get("error"):
        return str(outcome["error"])
    decision = outcome.get("decision")
    return str(outcome["status"]) if decision is None else f"{decision} ({outcome['status']})"
