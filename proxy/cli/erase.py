"""`crossfade pairs erase`: forget one person."""

import os
import sys
from typing import Any, Final

import click
from rich.console import Group, RenderableType
from rich.text import Text

from proxy.cli.client import AdminClient, AdminError
from proxy.cli.options import json_option, user_name, with_admin
from proxy.cli.output import print_json, show
from proxy.cli.tables import grid

_COUNTS: Final = ("pairs", "outcomes", "escalations", "traces", "waiting", "unreadable")


@click.command()
@click.option("--key", required=True, metavar="KEY", help="The person's targeting key, or - to read it from stdin.")
@click.option("--route", metavar="ROUTE", help="Only on this route. Default: all that have a rollout.")
@click.option("--salt", "salts", multiple=True, metavar="SALT", help="A salt that a rollout had before. Repeatable.")
@click.option("--reason", default="", help="Why; it is logged.")
@json_option
@with_admin
def erase(client: AdminClient, key: str, route: str | None, salts: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Forget one person: erase all that is kept of the requests that carried KEY, and say what that was.

    KEY is what the gateway finds in a request, byte by byte, as for `crossfade explain`. What is recorded holds only
    its hash, keyed by the rollout's salt: where that has been changed since, name the old one with --salt.

    The command line is seen in `ps` and kept by the shell; --key - reads one line from stdin. What still waits on a
    disk is not kept when it comes, either. Ask again after an error: it goes on where it was. Exit code 1: not all
    could be searched.
    """
    given = _read_stdin() if key == "-" else os.fsencode(key)
    done = client.erase(given, {"route": route, "salts": salts, "reason": reason, "actor": user_name()})
    if as_json:
        print_json(done)
    else:
        show(erased_view(done))
    unsearched = [route for route, counts in done["erased"].items() if counts.get("error") or counts["unreadable"]]
    if unsearched:
        raise AdminError(f"not everything could be searched on {', '.join(unsearched)}; the log says why")


def _read_stdin() -> bytes:
    line: bytes = sys.stdin.buffer.readline()
    return line.removesuffix(b"\n").removesuffix(b"\r")


def erased_view(done: dict[str, Any]) -> RenderableType:
    table = grid("route", *_COUNTS)
    for route, counts in done["erased"].items():
        table.add_row(Text(route), *(Text(str(counts[name])) for name in _COUNTS))
    left = Text("\n".join(["", "not erased:", *(f"  {each}" for each in done["not_erased"])]))
    return Group(table, left)
