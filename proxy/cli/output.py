"""How commands write: tables for the eye, JSON for programs."""

import sys
from typing import Any, Final

import click
import orjson
from rich.console import Console

_PIPE_WIDTH: Final = 400


def console() -> Console:
    """In a pipe a row stays on its line, whatever its length."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)


def print_json(document: Any) -> None:
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def print_json_line(document: Any) -> None:
    click.echo(orjson.dumps(document))
