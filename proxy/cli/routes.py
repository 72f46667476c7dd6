"""Rollouts on a terminal of 80 columns: all of them in a line each, or one with all that keeps it where it is."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from proxy.cli.checks import gates_view, guard_view, segments_view
from proxy.cli.confusion import confusion_view, consistency, fields_view, misses
from proxy.cli.tables import NONE, PHASES, age, card, compact, grid, phase, share, span


def routes_table(routes: Iterable[dict[str, Any]], now: datetime) -> RenderableType:
    """A line for each route; below them, why those stand still that do."""
    table = grid("route", "phase", "stage", "weight", "for", "legacy", "agent", "agree")
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
            _briefly(totals["legacy"]),
            _briefly(totals["agent"]),
            share(route["agreement"]["ratio"]),
        )
        if route["phase"] in ("degraded", "paused") and route["reason"]:
            reasons.append(Text.assemble((f"{route['name']}: ", PHASES[route["phase"]]), route["reason"]))
    return Group(table, *reasons)


def route_view(route: dict[str, Any], now: datetime, *, brief: bool = False) -> RenderableType:
    """One route: where it stands, what it waits for, on what evidence, and each gate and guard with its numbers. In
    brief, without the sentences of what holds nothing up: for a picture that must fit on the screen."""
    lines = card()
    if route["phase"] is None:
        lines.add_row(Text(route["name"], "bold"), Text(f"all to {route['legacy']}; no rollout"))
        return lines
    at = f" at {route['stage'] or NONE}, version {route['version']}, for {_since(route, now)}"
    lines.add_row(Text(route["name"], "bold"), phase(route["phase"]) + Text(at))
    for name, said in chain(_course(route), _traffic(route)):
        if said:
            lines.add_row(name, Text(said))
    return Group(
        lines,
        *gates_view(route["gates"], brief=brief),
        *segments_view(route["segments"]),
        *(() if brief else _spaced(confusion_view(route), fields_view(route["fields"]))),
        *guard_view(route["guard"], brief=brief),
    )


def _spaced(*views: list[RenderableType]) -> Iterator[RenderableType]:
    for view in views:
        if view:
            yield Text("")
            yield from view


def _course(route: dict[str, Any]) -> Iterator[tuple[str, str]]:
    following, replica = route["next"], route["replica"]
    if route["reason"]:
        yield "because", route["reason"] + (f" (by {route['actor']})" if route["actor"] else "")
    elif route["actor"]:
        yield "because", f"{route['actor']} gave no reason"
    yield "waits for", route["waits_for"]
    if following is not None:
        soak = f", to be held for {span(following['soak'])}" if following["soak"] else ""
        yield "next", f"{following['stage']} at {following['weight']:g} %{soak}"
    yield "replicas", _replicas(replica["leads"], replica["alive"])


def _replicas(leads: bool | None, alive: int) -> str:
    """Who decides. `leads` is None where that is not known, because the store is away."""
    if leads is None:
        return "the store is away, so nobody moves a stage; rollbacks still happen"
    return f"{alive}; {'this one' if leads else 'another one'} decides" if alive > 1 else "this one alone"


def _traffic(route: dict[str, Any]) -> Iterator[tuple[str, str]]:
    totals, agreement, users = route["totals"], route["agreement"], route["sample_ratio"]
    held = f"; {route['holdback']:g} % of users held back" if route["holdback"] else ""
    yield "traffic", f"{route['weight']:g} % to {route['agent']}, {route['shadow_percent']:g} % copied to it{held}"
    if users["ratio"] is not None:
        seen = f"{users['agent']:,} of {users['agent'] + users['legacy']:,} with the agent"
        yield "users", f"{seen}, {users['ratio']:.2%}; {users['expected']:.2%} asked for"
    yield "keys", _keys(route["key_coverage"])
    yield "legacy", f"{_outcomes(totals['legacy'])} ({route['legacy']})"
    yield "agent", f"{_outcomes(totals['agent'])} ({route['agent']}){_handed_over(route)}"
    counts = ", ".join(f"{agreement[word]:,} {word}" for word in ("matched", "mismatched", "incomparable"))
    yield "agreement", f"{share(agreement['ratio'])}, surely {share(agreement['lower_bound'])}; {counts}"
    if (kappa := route["kappa"])["value"] is not None:
        yield "kappa", f"{kappa['value']:.2f}, surely {kappa['lower_bound']:.2f} to {kappa['upper_bound']:.2f}"
    yield "misses", misses(route)
    yield "itself", consistency(route)


def _keys(coverage: dict[str, Any]) -> str:
    """Nothing where there was no request yet."""
    if coverage["ratio"] is None:
        return ""
    return f"in {coverage['ratio']:.1%} of {coverage['requests']:,} requests; {coverage['no_key']:,} had none"


def _outcomes(total: dict[str, int]) -> str:
    requests = total["requests"]
    slow = f", {share(total['slow'] / requests)} slow" if total["slow"] else ""
    return f"{requests:,} requests, {_failed(total)} failed{slow}"


def _handed_over(route: dict[str, Any]) -> str:
    fallbacks, escalations = route["fallback_rate"], route["escalation_rate"]
    said = [f"; {share(fallbacks)} fell back"] if fallbacks else []
    return "".join(said + ([f"; {share(escalations)} escalated"] if escalations else []))


def _since(route: dict[str, Any], now: datetime) -> str:
    return age(route["since"], now) if route["since"] else NONE


def _briefly(total: dict[str, int]) -> str:
    """Requests, and the share of them that failed, in at most 11 places."""
    failed = total["failed"] / total["requests"] if total["requests"] else 0.0
    return f"{compact(total['requests'])} / {failed:.{0 if failed >= 0.0995 else 1}%}"


def _failed(total: dict[str, int]) -> str:
    return share(total["failed"] / total["requests"] if total["requests"] else 0.0)
