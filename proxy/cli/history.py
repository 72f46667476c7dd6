"""`crossfade history` and `crossfade evidence`: for whoever asks later who let the agent serve, and on what grounds."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from proxy.cli.client import AdminClient
from proxy.cli.confusion import confusion_view, consistency, misses
from proxy.cli.options import with_admin
from proxy.cli.output import print_json_line, show
from proxy.cli.tables import PHASES, grid, share, verdict


@click.command()
@click.argument("route")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print each move as one line of JSON.")
@with_admin
def history(client: AdminClient, route: str, limit: int, as_json: bool) -> None:
    """Show the moves of ROUTE's rollout, newest first: when, who or what moved it, from where to where, why, and how
    its gates stood then."""
    _print(client.history(route, limit), as_json, history_view, "no moves are kept")


@click.command()
@click.argument("route")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print each stage as one line of JSON.")
@with_admin
def evidence(client: AdminClient, route: str, limit: int, as_json: bool) -> None:
    """Show what was seen at each stage of ROUTE's rollout, newest first, under earlier versions and retries too."""
    _print(client.evidence(route, limit), as_json, evidence_view, "no evidence is kept")


def _print(documents: list[dict[str, Any]], as_json: bool, view: Any, nothing: str) -> None:
    if as_json:
        for document in documents:
            print_json_line(document)
    elif documents:
        show(view(documents))
    else:
        click.echo(nothing, err=True)


def history_view(events: Iterable[dict[str, Any]]) -> RenderableType:
    return Group(*(part for event in events for part in _event(event)))


def _event(event: dict[str, Any]) -> Iterator[RenderableType]:
    at = datetime.fromisoformat(event["at"]).astimezone(UTC)
    yield Text.assemble(f"{at:%Y-%m-%d %H:%M:%S} UTC  ", (event["kind"], "bold"), f" by {event['actor'] or '-'}")
    moved = Text("  ") + _place(event["before"]) + Text(" → ") + _place(event["after"])
    yield moved + Text(f", version {event['version']}")
    if event["reason"]:
        yield Padding(Text(event["reason"]), (0, 0, 0, 2), expand=False)
    if event["gates"]:
        table = grid("gate", "verdict", "reason")
        for gate in event["gates"]:
            name = f"{gate['name']} (dry run)" if gate["dry_run"] else gate["name"]
            table.add_row(Text(name), verdict(gate["verdict"]), Text(gate["reason"]))
        yield Padding(table, (0, 0, 0, 4), expand=False)
    yield Text("")


def _place(place: dict[str, Any]) -> Text:
    phase = Text(place["phase"], PHASES.get(place["phase"], ""))
    return phase + Text(f" {place['stage']} {place['weight']:g} %") if place["stage"] else phase


def evidence_view(stages: Iterable[dict[str, Any]]) -> RenderableType:
    """A table for each fresh start of each version; below a stage, its segments, and below the table what the agent
    made of each decision. Requests of a version that had not
    begun, as a replica counts them whose configuration is another one, are at no stage."""
    starts: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for stage in stages:
        starts.setdefault((stage["version"], stage["epoch"]), []).append(stage)
    parts: list[RenderableType] = []
    for (version, epoch), group in starts.items():
        table = grid("stage", "legacy", "agent", "no key", "pairs", "agree", "surely")
        for stage in group:
            totals, agreement = stage["totals"], stage["agreement"]
            keyless = stage["key_coverage"]["ratio"]
            table.add_row(
                Text(stage["stage"] or "not begun"),
                _failed(totals["legacy"]),
                _failed(totals["agent"]),
                share(None if keyless is None else 1 - keyless),
                *_agreement(agreement),
            )
            for segment in stage["segments"]:
                table.add_row(Text(f"  {segment['name']}"), "", "", "", *_agreement(segment))
        parts += [
            Text.assemble("version ", (version, "bold"), f", start {epoch}"),
            Padding(table, (0, 0, 1, 2), expand=False),
            *(part for stage in group for part in _decisions(stage)),
        ]
    return Group(*parts)


def _decisions(stage: dict[str, Any]) -> Iterator[RenderableType]:
    matrix = confusion_view(stage)
    if matrix:
        yield Padding(Text.assemble("decisions at ", (stage["stage"] or "no stage", "bold")), (0, 0, 0, 2))
        said = (("kappa", _kappa(stage["kappa"])), ("misses", misses(stage)), ("itself", consistency(stage)))
        lines = [Text(f"{name} {text}") for name, text in said if text]
        yield Padding(Group(*matrix, *lines), (0, 0, 1, 4), expand=False)


def _kappa(kappa: dict[str, float | None]) -> str:
    value = kappa["value"]
    return "" if value is None else f"{value:.2f}, surely {kappa['lower_bound']:.2f} to {kappa['upper_bound']:.2f}"


def _agreement(counts: dict[str, Any]) -> tuple[str, str, str]:
    return f"{counts['matched'] + counts['mismatched']:,}", share(counts["ratio"]), share(counts["lower_bound"])


def _failed(total: dict[str, int]) -> str:
    requests, failed = total["requests"], total["failed"]
    return f"{requests:,} / {share(failed / requests if requests else None)}"
