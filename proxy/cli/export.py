"""`crossfade pairs export`: all that is kept of a route, as JSON Lines.

The rule: a file that is written holds whole lines, but for the last one where we were killed; `--resume` cuts that one
off and goes on after the pair before it. No more than a piece of the answer is in memory.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Self

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from proxy.cli.client import AdminClient, AdminError, Exported
from proxy.cli.options import with_admin
from proxy.model.errors import CrossfadeError
from proxy.model.words import Match

_BLOCK: Final = 64 << 10
_LINE: Final = re.compile(rb'^\{"id":"[a-z0-9_-]{1,64}\.(\d{1,20})-', re.MULTILINE)
"""How a pair's line begins: with its id, whose first number is when it was kept, in milliseconds."""


class ExportError(CrossfadeError):
    """The export cannot go into this file, or has broken off."""


class Written(NamedTuple):
    """What a file of an earlier export holds: the bytes of its whole lines, and the id of the last one's pair."""

    size: int
    last: str | None


@click.command("export")
@click.argument("route")
@click.option("--since", help="Only pairs kept since then: 7d, 12h, or a time such as 2026-11-22T08:00:00Z.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file to write; else stdout.")
@click.option("--resume", is_flag=True, help="Go on where the file of --output ends.")
@click.option("--after", metavar="ID", help="Only pairs kept after this one.")
@click.option(
    "--verdict", type=click.Choice([match.value for match in Match]), help="Only pairs with this verdict now."
)
@click.option("--steps", is_flag=True, help="With the steps that agents told of.")
@click.option("--reveal", is_flag=True, help="Also what the agent said where the human has not decided yet. Is logged.")
@with_admin
def export(
    client: AdminClient,
    route: str,
    since: str | None,
    output: Path | None,
    resume: bool,
    after: str | None,
    verdict: str | None,
    steps: bool,
    reveal: bool,
) -> None:
    """Write all pairs of ROUTE as JSON Lines, oldest first, up to the newest one of now."""
    if resume and output is None:
        raise click.UsageError("--resume goes on with a file; name it with --output")
    if resume and after is not None:
        raise click.UsageError("--resume goes on after the file's last pair; leave --after out")
    query = {"since": since, "after": after, "verdict": verdict}
    query |= {name: "true" for name, given in (("steps", steps), ("reveal", reveal)) if given}
    if output is None:
        _write(client, route, query, sys.stdout.buffer, "--after with the last line's id")
        return
    with _opened(output, resume=resume) as (file, last):
        if last is not None:
            query["after"] = last
        _write(client, route, query, file, "--resume")


def _write(client: AdminClient, route: str, query: dict[str, str | None], file: BinaryIO, mend: str) -> None:
    screen = Console(stderr=True)
    count = 0
    with client.export(route, **query) as exported, _Bar(screen, exported) as bar:
        try:
            for block in exported.blocks:
                file.write(block)
                count += block.count(b"\n")
                bar.show(count, block)
        except AdminError as error:
            raise ExportError(f"the export broke off after {count:,} pairs: {error}; go on with {mend}") from error
        file.flush()
    click.echo(f"{count:,} pairs", err=True)


class _Bar:
    """How far it is, by when the pairs were kept; nothing where nobody looks."""

    def __init__(self, screen: Console, exported: Exported) -> None:
        self._first, self._last = (_kept_at(place) for place in (exported.first, exported.last))
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
            console=screen, disable=not screen.is_terminal, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("0 pairs", total=max(1, self._last - self._first))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, count: int, block: bytes) -> None:
        if self._progress.disable:
            return
        kept_at = _LINE.findall(block)
        done = int(kept_at[-1]) - self._first if kept_at else None
        self._progress.update(self._task, description=f"{count:,} pairs", completed=done)


def _kept_at(pair_id: str) -> int:
    at = pair_id.rpartition(".")[2].partition("-")[0]
    return int(at) if at.isdecimal() else 0


@contextmanager
def _opened(path: Path, *, resume: bool) -> Iterator[tuple[BinaryIO, str | None]]:
    """The file, ready to be written, and the pair after which it goes on."""
    try:
        file = path.open("r+b" if resume and path.exists() else "xb", buffering=0)
    except FileExistsError:
        problem = f"{path} is there already; go on with it by --resume, or name another file"
        raise ExportError(problem) from None
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror}") from error
    with file:
        written = read_end(file, path) if resume else Written(0, None)
        file.truncate(written.size)
        file.seek(written.size)
        yield file, written.last


def read_end(file: BinaryIO, path: Path) -> Written:
    """Raises ExportError where the last whole line is no pair."""
    ends = _line_ends(file)
    size = next(ends, 0)
    if size == 0:
        return Written(0, None)
    start = next(ends, 0)
    file.seek(start)
    try:
        return Written(size, str(orjson.loads(file.read(size - start))["id"]))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ExportError(f"{path} does not end with a pair, so it is no export of ours to go on with") from None


def _line_ends(file: BinaryIO) -> Iterator[int]:
    """Behind each line's end, from the last one back."""
    end = file.seek(0, 2)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        block = file.read(end - start)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            yield start + at + 1
        end = start
