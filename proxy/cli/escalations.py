"""`crossfade escalations` and `crossfade escalation`: what the agent handed over to the human."""

from collections.abc import Iterable, Iterator
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from proxy.cli.client import AdminClient
from proxy.cli.options import json_option, with_admin
from proxy.cli.output import print_json, print_json_line, show
from proxy.cli.pages import entries
from proxy.cli.parts import Line, body, json_text, part, text, took, when
from proxy.cli.tables import card, grid
from proxy.outcomes.escalation import REASONS


@click.command()
@click.argument("route")
@click.option("--reason", type=click.Choice(REASONS), help="Only those for which this kept the agent from completing.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print each as one line of JSON.")
@with_admin
def escalations(client: AdminClient, route: str, reason: str | None, limit: int, as_json: bool) -> None:
    """Show what the agent of ROUTE handed over to the human, newest first."""
    found = entries(client.escalations, route, "escalations", limit, reason=reason)
    if as_json:
        for escalation in found:
            print_json_line(escalation)
    elif shown := list(found):
        show(escalations_table(shown))
    else:
        click.echo("nothing was handed over" if reason is None else f"nothing was handed over for {reason}", err=True)


@click.command()
@click.argument("route")
@click.argument("escalation_id", metavar="ID")
@json_option
@with_admin
def escalation(client: AdminClient, route: str, escalation_id: str, as_json: bool) -> None:
    """Show all that is known of one escalation of ROUTE: what the agent has done already, the request, its partial
    answer, its steps, and what legacy answered."""
    found = client.escalation(route, escalation_id)
    if as_json:
        print_json(found)
    else:
        show(escalation_view(found))


def escalations_table(found: Iterable[dict[str, Any]]) -> RenderableType:
    table = grid("escalation", "at", "reason", "said")
    for each in found:
        table.add_row(text(each["id"]), when(each["at"]), text(each["reason"]), text(each["detail"]))
    return table


def escalation_view(found: dict[str, Any]) -> RenderableType:
    pair = found["pair"]
    if "unreadable" in pair:
        return text(f"it cannot be read: {pair['unreadable']}")
    steps = pair.get("steps") or []
    head = card()
    for name, value in (
        ("handed over", f"{found['reason']}: {found['detail']}"),
        ("asked at", when(found["at"])),
        ("request", f"{found['request_id']}, trace {found['trace_id']}"),
        ("pair", f"{found['pair_id']}, version {found['version']}, stage {found['stage']}"),
    ):
        head.add_row(name, text(value))
    request = pair.get("request") or {}
    return Group(
        head,
        *part("already done", _done(steps)),
        *part("request", [text(f"{request.get('method')} {request.get('target')}"), *_body(request)]),
        *part("agent, so far", _outcome(pair.get("agent"))),
        *part("its steps", [_step(step) for step in steps] or [Text("it told of none")]),
        *part("legacy answered", _outcome(pair.get("legacy"))),
    )


def _done(steps: list[dict[str, Any]]) -> Iterator[Line]:
    """What must not be done twice; who was not seen writing may still have written."""
    known = [step for step in steps if step.get("writes") is True]
    for step in known:
        yield _step(step, "bold yellow")
        for name in ("arguments", "result"):
            if step.get(name) is not None:
                yield Padding(text(f"{name}: {json_text(step[name])}"), (0, 0, 0, 4), expand=False)
    if not known:
        yield Text("nothing that is known" if steps else "unknown: the agent told of no steps")
    doubtful = dict.fromkeys(
        str(step.get("name")) for step in steps if step.get("kind") == "tool" and step.get("writes") is None
    )
    if doubtful:
        yield text(f"not known whether these changed anything: {', '.join(doubtful)}")


def _step(step: dict[str, Any], style: str = "") -> Text:
    said = [f"{'  ' * min(step.get('depth') or 0, 6)}{step.get('kind')}", str(step.get("name"))]
    said.append(took(step.get("duration")))
    said += [f"failed: {step['error']}"] if step.get("error") else []
    return text("  ".join(said), style)


def _outcome(outcome: dict[str, Any] | None) -> list[Line]:
    if outcome is None:
        return [Text("nothing yet")]
    decision = f", decision {outcome['decision']}" if outcome.get("decision") is not None else ""
    failed = f", {outcome['error']}" if outcome.get("error") else ""
    status = outcome.get("status") or "no answer"
    return [text(f"{status}{failed}{decision}, after {took(outcome.get('duration'))}"), *_body(outcome)]


def _body(message: dict[str, Any]) -> list[Line]:
    return [text(shown)] if (shown := body(message)) is not None else []
