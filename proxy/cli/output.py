"""How commands write: tables for the eye, JSON for programs."""

import sys
from typing import Any, Final

import click
import orjson
from rich.console import Console, RenderableType

_PIPE_WIDTH: Final = 400


def console() -> Console:
    """In a pipe a row stays on its line, whatever its length."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)


def show(renderable: RenderableType) -> None:
    """Print it; into a pipe without the blanks that fill a table's lines."""
    screen = console()
    if screen.is_terminal:
        screen.print(renderable)
        return
    with screen.capture() as captured:
        screen.print(renderable)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_json(document: Any) -> None:
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def print_json_line(document: Any) -> None:
    click.echo(orjson.dumps(document))
