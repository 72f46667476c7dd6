"""Rollouts on a terminal of 80 columns: all of them in a line each, or one with all that keeps it where it is.

The numbers behind a gate stand in its reason; `--json` has them one by one.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from proxy.cli.tables import NONE, PHASES, age, grid, phase, share, verdict


def routes_table(routes: Iterable[dict[str, Any]], now: datetime) -> RenderableType:
    """A line for each route; below them, why those stand still that do."""
    table = grid("route", "phase", "stage", "weight", "for", "legacy", "agent", "agreement")
    reasons: list[RenderableType] = []
    for route in routes:
        if route["phase"] is None:
            table.add_row(Text(route["name"]), Text(f"all to {route['legacy']}", "dim"))
            continue
        totals = route["totals"]
        table.add_row(
            Text(route["name"]),
            phase(route["phase"]),
            Text(route["stage"]),
            f"{route['weight']:g} %",
            _since(route, now),
            _failed(totals["legacy"]),
            _failed(totals["agent"]),
            share(route["agreement"]["ratio"]),
        )
        if route["phase"] in ("degraded", "paused") and route["reason"]:
            reasons.append(Text.assemble((f"{route['name']}: ", PHASES[route["phase"]]), route["reason"]))
    return Group(table, *reasons)


def route_view(route: dict[str, Any], now: datetime) -> RenderableType:
    """One route: where it stands, on what evidence, and what keeps it there."""
    card = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    if route["phase"] is None:
        card.add_row(Text(route["name"], "bold"), Text(f"all to {route['legacy']}; no rollout"))
        return card
    place = f" at {route['stage']}, version {route['version']}, for {_since(route, now)}"
    card.add_row(Text(route["name"], "bold"), phase(route["phase"]) + Text(place))
    if route["reason"]:
        card.add_row("reason", Text(route["reason"]))
    agent, legacy, agreement = route["agent"], route["legacy"], route["agreement"]
    card.add_row("traffic", Text(f"{route['weight']:g} % to {agent}, {route['shadow_percent']:g} % copied to it"))
    card.add_row("legacy", Text(f"{_failed(route['totals']['legacy'], ' requests, ')} failed ({legacy})"))
    card.add_row("agent", Text(f"{_failed(route['totals']['agent'], ' requests, ')} failed ({agent})"))
    counts = ", ".join(f"{agreement[word]:,} {word}" for word in ("matched", "mismatched", "incomparable"))
    card.add_row("agreement", f"{share(agreement['ratio'])}, surely {share(agreement['lower_bound'])}; {counts}")
    return Group(card, _checks(route))


def _checks(route: dict[str, Any]) -> RenderableType:
    table = grid("check", "verdict", "reason")
    for kind in ("gates", "guard"):
        for check in route[kind]:
            name = check["name"] if kind == "gates" else f"guard {check['name']}"
            table.add_row(Text(name), verdict(check["verdict"]), Text(check["reason"]))
    return Group("", table) if table.row_count else ""


def _since(route: dict[str, Any], now: datetime) -> str:
    return age(route["since"], now) if route["since"] else NONE


def _failed(total: dict[str, int], between: str = " / ") -> str:
    """Requests, and the share of them that failed."""
    requests, failed = total["requests"], total["failed"]
    return f"{requests:,}{between}{share(failed / requests if requests else 0.0)}"
