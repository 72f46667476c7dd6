"""What the commands show on a terminal of 80 columns. Text from outside is never read as markup.

The numbers behind a gate stand in its reason; `--json` has them one by one.
"""

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
    """A line for each route; below them, why those stand still that do."""
    table = _table("route", "phase", "stage", "weight", "for", "legacy", "agent", "agreement")
    reasons: list[RenderableType] = []
    for route in routes:
        if route["phase"] is None:
            table.add_row(Text(route["name"]), Text(f"all to {route['legacy']}", "dim"))
            continue
        totals = route["totals"]
        table.add_row(
            Text(route["name"]),
            _phase(route),
            Text(route["stage"]),
            f"{route['weight']:g} %",
            _since(route, now),
            _failed(totals["legacy"]),
            _failed(totals["agent"]),
            share(route["agreement"]["ratio"]),
        )
        if route["phase"] in ("degraded", "paused") and route["reason"]:
            reasons.append(Text.assemble((f"{route['name']}: ", _PHASES[route["phase"]]), route["reason"]))
    return Group(table, *reasons)


def route_view(route: dict[str, Any], now: datetime) -> RenderableType:
    """One route: where it stands, on what evidence, and what keeps it there."""
    card = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    if route["phase"] is None:
        card.add_row(Text(route["name"], "bold"), Text(f"all to {route['legacy']}; no rollout"))
        return card
    place = f" at {route['stage']}, version {route['version']}, for {_since(route, now)}"
    card.add_row(Text(route["name"], "bold"), _phase(route) + Text(place))
    if route["reason"]:
        card.add_row("reason", Text(route["reason"]))
    agent, legacy, agreement = route["agent"], route["legacy"], route["agreement"]
    card.add_row("traffic", Text(f"{route['weight']:g} % to {agent}, {route['shadow_percent']:g} % copied to it"))
    card.add_row("legacy", Text(f"{_failed(route['totals']['legacy'], ' requests, ')} failed ({legacy})"))
    card.add_row("agent", Text(f"{_failed(route['totals']['agent'], ' requests, ')} failed ({agent})"))
    counts = ", ".join(f"{agreement[word]:,} {word}" for word in ("matched", "mismatched", "incomparable"))
    card.add_row("agreement", f"{share(agreement['ratio'])}, surely {share(agreement['lower_bound'])}; {counts}")
    return Group(card, _checks(route))


def pairs_table(pairs: Iterable[dict[str, Any]]) -> RenderableType:
    table = _table("pair", "at", "verdict", "mode", "legacy", "agent", "differs")
    for pair in pairs:
        table.add_row(
            Text(pair["id"]),
            f"{datetime.fromisoformat(pair['at']).astimezone(UTC):%H:%M:%S}",
            _verdict(pair["verdict"]),
            Text(pair["mode"]),
            Text(_outcome(pair["legacy"])),
            Text(_outcome(pair["agent"])),
            Text(", ".join(difference["path"] for difference in pair["differences"])),
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


def share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1%}"


def _checks(route: dict[str, Any]) -> RenderableType:
    table = _table("check", "verdict", "reason")
    for kind in ("gates", "guard"):
        for check in route[kind]:
            name = check["name"] if kind == "gates" else f"guard {check['name']}"
            table.add_row(Text(name), _verdict(check["verdict"]), Text(check["reason"]))
    return Group("", table) if table.row_count else ""


def _table(*columns: str) -> Table:
    """Only the last column wraps."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    return table


def _phase(route: dict[str, Any]) -> Text:
    return Text(route["phase"], _PHASES.get(route["phase"], ""))


def _verdict(verdict: str | None) -> Text:
    """None where one arm alone was asked, so that there was nothing to compare."""
    return Text(verdict or _NONE, _VERDICTS.get(verdict or "", "yellow"))


def _since(route: dict[str, Any], now: datetime) -> str:
    return age(route["since"], now) if route["since"] else _NONE


def _failed(total: dict[str, int], between: str = " / ") -> str:
    """Requests, and the share of them that failed."""
    requests, failed = total["requests"], total["failed"]
    return f"{requests:,}{between}{share(failed / requests if requests else 0.0)}"


def _outcome(outcome: dict[str, Any] | None) -> str:
    """An arm's decision; its status where that says more."""
    if outcome is None:
        return _NONE
    if outcome["error"]:
        return str(outcome["error"])
    decision, status = outcome["decision"], outcome["status"]
    if decision is None:
        return str(status)
    return str(decision) if 200 <= status < 300 else f"{decision} ({status})"
