"""Options that several commands share."""

import getpass
from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import Any

import click

from proxy.cli.client import DEFAULT, AdminClient, read_token

Command = Callable[..., None]

config_option = click.option(
    "-c",
    "--config",
    "path",
    default="config/crossfade.yaml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The configuration file.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, as the admin API gives it.")


def with_admin(command: Command) -> Command:
    """Adds --admin and --token-file, and hands the command a client in their place."""

    def with_client(*args: Any, admin: str, token_file: str | None, **options: Any) -> None:
        command(AdminClient(admin, read_token(token_file)), *args, **options)

    with_options = click.option("--token-file", metavar="FILE", help="Holds the token; else CROSSFADE_TOKEN is it.")(
        update_wrapper(with_client, command)
    )
    where = click.option("--admin", metavar="URL", envvar="CROSSFADE_ADMIN", show_envvar=True, default=DEFAULT,
                         show_default=True, help="Where the admin API listens.")  # fmt: skip
    return where(with_options)


def user_name() -> str:
    """Who runs the command; empty for a user without a name, as in a container."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
