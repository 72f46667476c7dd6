"""`crossfade run`: the whole of Crossfade, in the foreground."""

from pathlib import Path

import click

from proxy.cli.options import config_option
from proxy.control import configuration
from proxy.control.supervisor import supervise


@click.command()
@config_option
@click.pass_context
def run(context: click.Context, path: Path) -> None:
    """Run Crossfade in the foreground until SIGTERM or Ctrl-C, which let requests under way finish.

    The file is watched: a change is put to work without dropping a request, and so does SIGHUP. Logs go to stderr, one
    JSON line each, or made for the eye on a terminal. Exit code 1: it could not start, or not end cleanly.
    """
    context.exit(supervise(configuration.read(path)))
