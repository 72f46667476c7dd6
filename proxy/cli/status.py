"""`crossfade status`: where the rollouts stand, once, for ever, or until they have settled."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import click
from rich.live import Live

from proxy.cli.client import AdminClient, AdminError
from proxy.cli.options import json_option, with_admin
from proxy.cli.output import console, print_json, print_json_line, show
from proxy.cli.routes import route_view, routes_table

DEGRADED, PAUSED, TIMED_OUT = 3, 4, 5
"""Exit codes of `status --wait`."""
_SETTLED: Final = {"completed": 0, "degraded": DEGRADED, "paused": PAUSED}

Routes = list[dict[str, Any]]


@click.command()
@click.argument("route", required=False)
@json_option
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C, and show each change.")
@click.option("--wait", is_flag=True, help="Wait until the rollout of ROUTE is completed, degraded or paused.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="With --wait: how long at most.")
@click.option("--interval", type=click.FloatRange(min=0.05), default=1.0, show_default=True, metavar="SECONDS",
              help="With --watch and --wait: how often to ask.")  # fmt: skip
@with_admin
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
    tell = _print_json if as_json else _print_table
    if watch:
        _watch(client, route, as_json, interval)
    elif wait:
        document, code = _wait(client, str(route), timeout, interval)
        tell([document], route)
        click.get_current_context().exit(code)
    else:
        tell(_read(client, route), route)


def _read(client: AdminClient, route: str | None) -> Routes:
    return client.routes() if route is None else [client.route(route)]


def _print_json(routes: Routes, route: str | None) -> None:
    print_json(routes if route is None else routes[0])


def _print_table(routes: Routes, route: str | None) -> None:
    show(_table(routes, route))


def _table(routes: Routes, route: str | None, *, brief: bool = False) -> Any:
    now = datetime.now(UTC)
    return routes_table(routes, now) if route is None else route_view(routes[0], now, brief=brief)


def _watch(client: AdminClient, route: str | None, as_json: bool, interval: float) -> None:
    """On a terminal one picture that is kept fresh, else each change below the one before."""
    screen = console()
    with suppress(KeyboardInterrupt):
        if as_json or not screen.is_terminal:
            before = None
            for routes in _polled(client, route, interval):
                if routes != before:
                    (_print_json_line if as_json else _print_table)(routes, route)
                before = routes
        else:
            with Live(console=screen, auto_refresh=False) as live:
                for routes in _polled(client, route, interval):
                    live.update(_table(routes, route, brief=True), refresh=True)


def _print_json_line(routes: Routes, route: str | None) -> None:
    print_json_line(routes if route is None else routes[0])


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
