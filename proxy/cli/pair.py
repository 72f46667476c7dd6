"""`crossfade pairs show`: one pair, both arms side by side, and what the agent did."""

from collections.abc import Iterator
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from proxy.cli.client import AdminClient
from proxy.cli.options import json_option, with_admin
from proxy.cli.output import print_json, show
from proxy.cli.parts import Line, body, json_text, part, text, took, when
from proxy.cli.steps import steps_tree
from proxy.cli.tables import NONE, card, grid, verdict
from proxy.telemetry.visible import visible


@click.command("show")
@click.argument("pair_id", metavar="ID")
@json_option
@click.option("--reveal", is_flag=True, help="Also what the agent said where the human has not decided yet. Is logged.")
@with_admin
def show_pair(client: AdminClient, pair_id: str, as_json: bool, reveal: bool) -> None:
    """Show all that is kept of one pair: the request, both arms' answers, where they differ, the agent's steps."""
    found = client.pair(pair_id, reveal=reveal)
    if as_json:
        print_json(found)
    else:
        show(pair_view(found))


def pair_view(pair: dict[str, Any]) -> RenderableType:
    if "unreadable" in pair:
        return text(f"{pair['id']} cannot be read: {pair['unreadable']}")
    request = pair.get("request") or {}
    return Group(
        _head(pair),
        *part("request", [text(f"{request.get('method')} {request.get('target')}"), *_asked(request)]),
        *part("answers", [_side_by_side(pair)]),
        *part("differences", _differences(pair)),
        *part("decisions", _revisions(pair)),
        *part("what the agent did", _steps(pair)),
    )


def _asked(request: dict[str, Any]) -> list[Line]:
    return [text(shown)] if (shown := body(request)) is not None else []


def _head(pair: dict[str, Any]) -> RenderableType:
    head = card()
    said = pair.get("hidden") or pair.get("verdict_reason") or ""
    escalation = pair.get("escalation") or {}
    for name, value in (
        ("pair", pair["id"]),
        ("verdict", Text.assemble(verdict(pair["verdict"]), f"  {visible(said)}" if said else "")),
        ("asked at", when(pair.get("at"))),
        ("request", f"{pair.get('request_id')}, trace {pair.get('trace_id')}"),
        ("served by", f"{pair.get('arm')} ({pair.get('mode')}), because {pair.get('reason')}"),
        ("rollout", f"version {pair.get('version')}, stage {pair.get('stage')}, copy {pair.get('shadow_fate')}"),
        ("handed over", f"{escalation['id']}: {escalation['reason']}" if escalation else ""),
    ):
        if value:
            head.add_row(name, value if isinstance(value, Text) else text(value))
    return head


def _side_by_side(pair: dict[str, Any]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    arms = ["legacy", "agent", *(["agent again"] if pair.get("repeat") else [])]
    for arm in arms:
        table.add_column(arm, overflow="fold", ratio=1)
    answers = [pair.get("legacy"), pair.get("agent"), pair.get("repeat")][: len(arms)]
    hidden = [arm != "legacy" and "hidden" in pair for arm in arms]
    for name, of in (("status", _status), ("decision", _decision), ("took", _took), ("body", _body)):
        cells = [
            Text("hidden", "yellow") if hides else text(of(answer) if answer else NONE)
            for answer, hides in zip(answers, hidden, strict=True)
        ]
        table.add_row(name, *cells)
    return table


def _status(answer: dict[str, Any]) -> str:
    status = str(answer.get("status") or "no answer")
    return f"{status}, {answer['error']}" if answer.get("error") else status


def _decision(answer: dict[str, Any]) -> str:
    decision = answer.get("decision")
    return NONE if decision is None else decision if isinstance(decision, str) else json_text(decision)


def _took(answer: dict[str, Any]) -> str:
    return took(answer.get("duration"))


def _body(answer: dict[str, Any]) -> str:
    return body(answer) or NONE


def _differences(pair: dict[str, Any]) -> Iterator[Line]:
    found = pair.get("differences") or []
    if not found:
        return
    table = grid("path", "legacy", "agent", "")
    for each in found:
        sides = [NONE if each.get("missing") == arm else json_text(each.get(arm)) for arm in ("legacy", "agent")]
        noise = "the agent differs here from itself too" if each.get("noise") else ""
        table.add_row(text(each["path"]), *map(text, sides), text(noise, "dim"))
    yield table
    if more := pair.get("more_differences"):
        yield Text(f"and {more} more")


def _revisions(pair: dict[str, Any]) -> Iterator[Line]:
    for each in pair.get("revisions") or []:
        by = f" by {each['by']}" if each.get("by") else ""
        yield text(f"{when(each.get('decided_at'))}  {json_text(each.get('decision'))}{by}, via {each.get('via')}")
    if pair.get("verdict") == "pending" and (waits := pair.get("pending")):
        yield text(f"none yet; it is waited for until {when(waits.get('until'))}")


def _steps(pair: dict[str, Any]) -> Iterator[Line]:
    if "hidden" in pair:
        yield Text("hidden", "yellow")
    elif steps := pair.get("steps"):
        yield steps_tree(steps, pair["step_totals"])
