"""Options that several commands share."""

from pathlib import Path

import click

config_option = click.option(
    "-c",
    "--config",
    "path",
    default="config/crossfade.yaml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The configuration file.",
)
