"""`crossfade pairs`: what both arms did with the same requests."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import RenderableType
from rich.text import Text

from proxy.cli.client import AdminClient
from proxy.cli.options import with_admin
from proxy.cli.output import print_json_line, show
from proxy.cli.pages import entries
from proxy.cli.tables import NONE, grid, verdict
from proxy.model.words import Match


@click.command()
@click.argument("route")
@click.option(
    "--verdict", "wanted", type=click.Choice([match.value for match in Match]), help="Only pairs with this verdict."
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print each pair as one line of JSON, with all that was kept.")
@with_admin
def pairs(client: AdminClient, route: str, wanted: str | None, limit: int, as_json: bool) -> None:
    """Show what both arms did with the same requests of ROUTE, newest first."""
    found = entries(client.pairs, route, "pairs", limit, verdict=wanted)
    if as_json:
        for pair in found:
            print_json_line(pair)
        return
    shown = list(found)
    if shown:
        show(pairs_table(shown))
    else:
        click.echo("no pairs" if wanted is None else f"no pairs are {wanted}", err=True)


def pairs_table(pairs: Iterable[dict[str, Any]]) -> RenderableType:
    table = grid("pair", "at", "verdict", "mode", "legacy", "agent", "differs")
    for pair in pairs:
        table.add_row(
            Text(pair["id"]),
            f"{datetime.fromisoformat(pair['at']).astimezone(UTC):%H:%M:%S}",
            verdict(pair["verdict"]),
            Text(pair["mode"]),
            Text(_outcome(pair["legacy"])),
            Text(_outcome(pair["agent"])),
            Text(", ".join(_place(difference) for difference in pair["differences"])),
        )
    return table


def _place(difference: dict[str, Any]) -> str:
    """Where the agent differs from itself too, `~` says so."""
    return f"{'~' if difference.get('noise') else ''}{difference['path']}"


def _outcome(outcome: dict[str, Any] | None) -> str:
    """An arm's decision; its status where that says more."""
    if outcome is None:
        return NONE
    if outcome["error"]:
        return str(outcome["error"])
    decision, status = outcome["decision"], outcome["status"]
    if decision is None:
        return str(status)
    return str(decision) if 200 <= status < 300 else f"{decision} ({status})"
