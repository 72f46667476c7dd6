"""`crossfade pairs`: what both arms did with the same requests; and what can be done with these pairs."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import RenderableType
from rich.text import Text

from proxy.cli.client import AdminClient
from proxy.cli.erase import erase
from proxy.cli.export import export
from proxy.cli.options import with_admin
from proxy.cli.output import print_json_line, show
from proxy.cli.pages import entries
from proxy.cli.pair import show_pair
from proxy.cli.tables import NONE, grid, verdict
from proxy.model.words import Match


class _Pairs(click.Group):
    """`crossfade pairs ROUTE` lists them; so does `pairs list ROUTE`, for a route that is called like a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Pairs, subcommand_metavar="ROUTE [OPTIONS] | COMMAND [ARGS]...")
def pairs() -> None:
    """Show what both arms did with the same requests, or do something with what is kept of them.

    `crossfade pairs ROUTE` is `crossfade pairs list ROUTE`."""


pairs.add_command(show_pair)
pairs.add_command(export)
pairs.add_command(erase)


@pairs.command("list")
@click.argument("route")
@click.option(
    "--verdict", "wanted", type=click.Choice([match.value for match in Match]), help="Only pairs with this verdict."
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print each pair as one line of JSON, with all that was kept.")
@click.option("--reveal", is_flag=True, help="Also what the agent said where the human has not decided yet. Is logged.")
@with_admin
def list_pairs(client: AdminClient, route: str, wanted: str | None, limit: int, as_json: bool, reveal: bool) -> None:
    """Show what both arms did with the same requests of ROUTE, newest first."""
    found = entries(client.pairs, route, "pairs", limit, verdict=wanted, reveal="true" if reveal else None)
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
        if "unreadable" in pair:
            table.add_row(Text(pair["id"]), NONE, Text("unreadable", "red"), NONE, NONE, NONE, "")
            continue
        table.add_row(
            Text(pair["id"]),
            f"{datetime.fromisoformat(pair['at']).astimezone(UTC):%H:%M:%S}",
            verdict(pair["verdict"]),
            Text(pair["mode"]),
            Text(_outcome(pair["legacy"])),
            Text("hidden", "yellow") if "hidden" in pair else Text(_outcome(pair["agent"])),
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
