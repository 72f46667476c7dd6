"""The operator's commands: each asks the admin API, shows its answer and adds nothing of its own."""

import getpass
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import update_wrapper
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.live import Live

from proxy.cli import tables
from proxy.cli.client import DEFAULT, AdminClient, AdminError, read_token
from proxy.model.words import Match, Verb

DEGRADED, PAUSED, TIMED_OUT = 3, 4, 5
"""Exit codes of `status --wait`."""
_SETTLED: Final = {"completed": 0, "degraded": DEGRADED, "paused": PAUSED}
_PAGE: Final = 500
_PIPE_WIDTH: Final = 400

Command = Callable[..., None]
Routes = list[dict[str, Any]]


def _admin(command: Command) -> Command:
    """Adds --admin and --token-file, and hands the command a client in their place."""

    def with_client(*args: Any, admin: str, token_file: str | None, **options: Any) -> None:
        command(AdminClient(admin, read_token(token_file)), *args, **options)

    with_options = click.option("--token-file", metavar="FILE", help="Holds the token; else CROSSFADE_TOKEN is it.")(
        update_wrapper(with_client, command)
    )
    where = click.option("--admin", metavar="URL", envvar="CROSSFADE_ADMIN", show_envvar=True, default=DEFAULT,
                         show_default=True, help="Where the admin API listens.")  # fmt: skip
    return where(with_options)


@click.command()
@click.argument("route", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the admin API gives it.")
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C, and show each change.")
@click.option("--wait", is_flag=True, help="Wait until the rollout of ROUTE is completed, degraded or paused.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="With --wait: how long at most.")
@click.option("--interval", type=click.FloatRange(min=0.05), default=1.0, show_default=True, metavar="SECONDS",
              help="With --watch and --wait: how often to ask.")  # fmt: skip
@_admin
def status(
    client: AdminClient,
    route: str | None,
    *,
    as_json: bool,
    watch: bool,
    wait: bool,
    timeout: float | None,
    interval: float,
) -> None:
    """Show where the rollouts stand, or that of ROUTE with its gates.

    With --wait the exit code tells the end: 0 completed, 3 degraded, 4 paused, 5 not within --timeout.
    """
    if wait and (watch or route is None):
        raise click.UsageError("--wait needs a ROUTE and excludes --watch")
    if timeout is not None and not wait:
        raise click.UsageError("--timeout goes with --wait")
    show = _print_json if as_json else _print_table
    if watch:
        _watch(client, route, as_json, interval)
    elif wait:
        document, code = _wait(client, str(route), timeout, interval)
        show([document], route)
        click.get_current_context().exit(code)
    else:
        show(_read(client, route), route)


def _console() -> Console:
    """In a pipe a row stays on its line, whatever its length."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)


def _read(client: AdminClient, route: str | None) -> Routes:
    return client.routes() if route is None else [client.route(route)]


def _print_json(routes: Routes, route: str | None) -> None:
    click.echo(orjson.dumps(routes if route is None else routes[0], option=orjson.OPT_INDENT_2))


def _print_table(routes: Routes, route: str | None) -> None:
    _console().print(_table(routes, route))


def _table(routes: Routes, route: str | None) -> Any:
    now = datetime.now(UTC)
    return tables.routes_table(routes, now) if route is None else tables.route_view(routes[0], now)


def _watch(client: AdminClient, route: str | None, as_json: bool, interval: float) -> None:
    """On a terminal one picture that is kept fresh, else each change below the one before."""
    console = _console()
    with suppress(KeyboardInterrupt):
        if as_json or not console.is_terminal:
            before = None
            for routes in _polled(client, route, interval):
                if routes != before:
                    (_print_json_line if as_json else _print_table)(routes, route)
                before = routes
        else:
            with Live(console=console, auto_refresh=False) as live:
                for routes in _polled(client, route, interval):
                    live.update(_table(routes, route), refresh=True)


def _print_json_line(routes: Routes, route: str | None) -> None:
    click.echo(orjson.dumps(routes if route is None else routes[0]))


def _polled(client: AdminClient, route: str | None, interval: float) -> Iterator[Routes]:
    """Asks for ever. A control process that is being restarted is waited for; the first answer must come, though."""
    yield _read(client, route)
    away = False
    while True:
        threading.Event().wait(interval)
        try:
            yield _read(client, route)
        except AdminError as error:
            if error.status and error.status < 500:
                raise
            if not away:
                click.echo(f"crossfade: {error}; asking again", err=True)
            away = True
        else:
            away = False


def _wait(client: AdminClient, route: str, timeout: float | None, interval: float) -> tuple[dict[str, Any], int]:
    """The route as it ended, and the exit code that says so."""
    deadline = time.monotonic() + timeout if timeout is not None else float("inf")
    for (document,) in _polled(client, route, interval):
        code = _SETTLED.get(document["phase"])
        if document["phase"] is None:
            raise AdminError(f"the route {route!r} has no rollout to wait for")
        if code is not None:
            return document, code
        if time.monotonic() + interval > deadline:
            return document, TIMED_OUT
    raise AssertionError("polling does not end")


def _verb(verb: Verb, text: str) -> click.Command:
    """A command that asks for `verb` and prints how the route then stands."""

    @_admin
    def ask(client: AdminClient, route: str, reason: str, full: bool = False) -> None:
        body: dict[str, Any] = {"reason": reason, "actor": _user()}
        document = client.command(route, verb, body | {"full": True} if full else body)
        where = f"{document['stage']}, {document['weight']:g} % to {document['agent']}"
        click.echo(f"{document['name']}: {document['phase']} at {where}")

    command = click.option("--reason", default="", help="Kept in the history, for those who ask later.")(ask)
    if verb is Verb.PROMOTE:
        command = click.option("--full", is_flag=True, help="To the last stage at once.")(command)
    return click.command(verb.value, help=text)(click.argument("route")(command))


promote = _verb(Verb.PROMOTE, "Move the rollout of ROUTE to its next stage, whatever its gates say.")
pause = _verb(Verb.PAUSE, "Hold the rollout of ROUTE where it is. Its traffic stays; the guard stays awake.")
resume = _verb(Verb.RESUME, "Let the paused rollout of ROUTE go on.")
abort = _verb(Verb.ABORT, "Swap all traffic of ROUTE back to legacy, now.")
retry = _verb(Verb.RETRY, "Start the rolled-back rollout of ROUTE again from its first stage.")


@click.command()
@click.argument("route")
@click.option("--verdict", type=click.Choice([match.value for match in Match]), help="Only pairs with this verdict.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print each pair as one line of JSON, with all that was kept.")
@_admin
def pairs(client: AdminClient, route: str, verdict: str | None, limit: int, as_json: bool) -> None:
    """Show what both arms did with the same requests of ROUTE, newest first."""
    found = _pages(client, route, verdict, limit)
    if as_json:
        for pair in found:
            click.echo(orjson.dumps(pair))
        return
    shown = list(found)
    if shown:
        _console().print(tables.pairs_table(shown))
    else:
        click.echo("no pairs" if verdict is None else f"no pairs are {verdict}", err=True)


def _pages(client: AdminClient, route: str, verdict: str | None, limit: int) -> Iterator[dict[str, Any]]:
    before = None
    while limit > 0:
        page = client.pairs(route, verdict=verdict, before=before, limit=min(limit, _PAGE))
        yield from page["pairs"]
        limit -= len(page["pairs"])
        before = page["next"]
        if before is None:
            return


@click.command()
@_admin
def reload(client: AdminClient) -> None:
    """Read the configuration again. A bad file changes nothing, and is explained."""
    answer = client.reload({"actor": _user()})
    click.echo(f"{answer['result']}: snapshot {answer['snapshot']}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""  # a user without a name, as in a container
