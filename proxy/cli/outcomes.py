"""`crossfade outcomes`: tell what humans decided later, for pairs that wait for it.

What names a person or a case stays out of all that is printed: errors are told by line.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO, Any, Final

import click
import orjson

from proxy.cli.client import AdminClient, AdminError
from proxy.cli.options import user_name, with_admin

_LINES: Final = 1_000
_BYTES: Final = 900_000
"""Of one request: what the admin API takes, with room to spare."""

_NOTHING: Final[dict[str, Any]] = {"accepted": 0, "rejected": []}

Line = tuple[int, bytes]


@click.group()
def outcomes() -> None:
    """Tell what humans decided later than legacy answered, to close pairs that wait for it."""


@outcomes.command()
@click.argument("route")
@click.option("--case", metavar="CASE", help="What legacy's answer called it, or - to read it from stdin.")
@click.option("--request-id", metavar="ID", help="Instead of a case: the request's id.")
@click.option("--decision", required=True, help="A text; JSON where it is a number, a boolean or null.")
@click.option("--at", "decided_at", metavar="TIME", help="When it was decided, as 2026-11-22T08:00:00Z. Default: now.")
@click.option("--by", default="", help="Who decided. Default: you.")
@with_admin
def close(
    client: AdminClient,
    route: str,
    case: str | None,
    request_id: str | None,
    decision: str,
    decided_at: str | None,
    by: str,
) -> None:
    """Close one case of ROUTE by hand. A decision that is told again is a revision: the one made last counts.

    The command line is seen in `ps` and kept by the shell; --case - reads one line from stdin.
    """
    if (case is None) == (request_id is None):
        raise click.UsageError("give either --case or --request-id")
    if case == "-":
        case = sys.stdin.readline().rstrip("\r\n")
    told: dict[str, Any] = {"route": route, "decision": _value(decision), "by": by or user_name()}
    told |= {"case": case} if case is not None else {"request_id": request_id}
    told["decided_at"] = decided_at or datetime.now(UTC).isoformat(timespec="milliseconds")
    for problem in client.outcomes([told])["rejected"]:
        raise AdminError(problem["error"])
    click.echo("accepted; it is joined to its pair in a moment, or when the pair comes")


@outcomes.command()
@click.argument("file", type=click.File("rb"))
@with_admin
def send(client: AdminClient, file: IO[bytes]) -> None:
    """Send decisions from FILE, or - for stdin: one JSON object in each line.

    {"route": "refunds", "case": "c-17", "decision": "approve", "decided_at": "2026-11-22T08:00:00Z", "by": "ana"}

    With decided_at in each, sending a file again does no harm. Exit code 1: some lines were refused.
    """
    accepted = refused = 0
    for lines in _batches(file):
        good: list[tuple[int, Any]] = []
        for number, data in lines:
            try:
                good.append((number, orjson.loads(data)))
            except orjson.JSONDecodeError:
                refused += _refuse(number, "is no JSON")
        try:
            answer: dict[str, Any] = client.outcomes([outcome for _, outcome in good]) if good else _NOTHING
        except AdminError as error:
            where = f"{accepted} accepted, and from line {lines[0][0]} on send them again"
            raise AdminError(f"{error} ({where})", status=error.status) from error
        accepted += answer["accepted"]
        for problem in answer["rejected"]:
            refused += _refuse(good[problem["index"]][0], problem["error"])
    click.echo(f"{accepted} accepted, {refused} refused")
    if refused:
        raise click.exceptions.Exit(1)


def _refuse(number: int, why: str) -> int:
    click.echo(f"line {number}: {why}", err=True)
    return 1


def _batches(file: IO[bytes]) -> Iterator[list[Line]]:
    """Lines that are not empty, as many as go together."""
    lines: list[Line] = []
    size = 0
    for number, data in enumerate(file, 1):
        if not data.strip():
            continue
        if lines and (len(lines) == _LINES or size + len(data) > _BYTES):
            yield lines
            lines, size = [], 0
        lines.append((number, data))
        size += len(data)
    if lines:
        yield lines


def _value(text: str) -> Any:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return text if isinstance(found, dict | list | str) else found
