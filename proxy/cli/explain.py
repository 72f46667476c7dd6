"""`crossfade explain`: which arm a user's requests get, now and at each stage, and why."""

import os
import sys
from collections.abc import Iterator
from typing import Any, Final

import click
from rich.console import Group, RenderableType
from rich.text import Text

from proxy.cli.client import AdminClient
from proxy.cli.options import json_option, with_admin
from proxy.cli.output import print_json, show
from proxy.cli.tables import NONE, card, grid

_ARMS: Final = {"agent": "green", "legacy": "yellow"}
_OTHERWISE: Final = {
    "header": "is not read as this key",
    "cookie": "is read as another key: blanks and quotes around it are no part of it, and a semicolon ends it",
    "query": "is read as another key: it is decoded there, a plus is a blank and an ampersand ends it",
    "client_ip": "is not read as this key",
}


@click.command()
@click.argument("route")
@click.option("--key", required=True, metavar="KEY", help="The user's targeting key, or - to read it from stdin.")
@json_option
@with_admin
def explain(client: AdminClient, route: str, key: str, as_json: bool) -> None:
    """Say which arm the requests of a user on ROUTE get, now and at each stage, and why. It changes nothing.

    KEY is hashed byte by byte, just as the gateway does it with what it finds in a request: a header's value as it was
    sent (case counts); a cookie's without blanks and quotes around it; a query parameter's with its percent-encoding
    undone and each + as a blank; a client's address as text, without port. So write the value itself, and not as it is
    encoded. A client that does not send UTF-8 sends other bytes than your terminal does: $'\\xe9' writes any of them.
    An empty KEY is a request without one.

    The key is personal, and the command line is seen in `ps` and kept by the shell; --key - reads one line from stdin.
    It is sent in a request's body, and no log, metric or history keeps it.
    """
    document = client.explain(route, _read_stdin() if key == "-" else os.fsencode(key))
    if as_json:
        print_json(document)
    else:
        show(explanation_view(document))


def _read_stdin() -> bytes:
    line: bytes = sys.stdin.buffer.readline()
    return line.removesuffix(b"\n").removesuffix(b"\r")


def explanation_view(told: dict[str, Any]) -> RenderableType:
    now, lines = told["now"], card()
    who = Text.assemble((now["arm"], _ARMS[now["arm"]]), f" serves this user's requests now, at {_place(now)}")
    lines.add_row(Text(told["route"], "bold"), who)
    lines.add_row("why", Text(f"{now['sentence']} ({now['reason']})"))
    if told["phase"] in ("degraded", "paused"):
        lines.add_row(told["phase"], Text(told["why"]))
    if told["bucket"] is not None:
        lines.add_row("bucket", f"{told['bucket']:,} of 100,000")
    lines.add_row("in from", Text(_enters(told)))
    if now["arm"] == "legacy":
        lines.add_row("copies", f"the agent gets a copy of {told['shadow_percent']:g} % of what legacy serves")
    if told["key_hash"] is not None:
        lines.add_row("recorded", f"in pairs, as key_hash {told['key_hash']}")
    for name, text in _notes(told):
        lines.add_row(name, Text(text))
    return Group(lines, *_stages(told))


def _enters(told: dict[str, Any]) -> str:
    if told["split"]:
        return "no stage: a fixed split has none; split.weight in the configuration moves it"
    if told["held_back"]:
        return f"no stage: held back, with the last {told['holdback']:g} % of the buckets"
    if told["enters"] is None:
        return "no stage of the plan"
    at = next(at for at in told["stages"] if at["stage"] == told["enters"])
    return f"{_place(at)}, and at every later stage"


def _notes(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "key from", f"{', else '.join(map(_source, told['sources']))}; a request without any is legacy's"
    if told["bucket"] is not None:
        for source in told["sources"]:
            if not source["alike"]:
                yield "beware", f"written so, in {_source(source)}, KEY {_OTHERWISE[source['kind']]}"
    if told["override"]:
        yield "testers", "a signed override goes to the arm that it names, whatever stands here"


def _source(source: dict[str, Any]) -> str:
    return "the client's address" if source["kind"] == "client_ip" else f"{source['kind']} {source['name']}"


def _place(at: dict[str, Any]) -> str:
    return f"{at['stage'] or NONE} ({at['weight']:g} %)"


def _stages(told: dict[str, Any]) -> list[RenderableType]:
    table = grid("stage", "weight", "arm", "why")
    for at in told["stages"]:
        here = at["stage"] == told["now"]["stage"]
        table.add_row(
            Text(f"{at['stage']} (now)" if here else at["stage"]),
            f"{at['weight']:g} %",
            Text(at["arm"], _ARMS[at["arm"]]),
            at["reason"],
        )
    return [Text(""), table] if table.row_count else []
