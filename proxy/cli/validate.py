"""`crossfade validate` and `crossfade schema`: look at a configuration without running it."""

import json
import os
import sys
from pathlib import Path

import click
from ruamel.yaml import YAML

from proxy.config.load import load, masked
from proxy.config.schema import Config
from proxy.model.errors import ConfigError


def read_config(path: Path) -> Config:
    """The configuration in a file, with this process's environment. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not text in UTF-8", file=str(path)) from error
    return load(text, str(path), os.environ, lambda name: Path(name).read_text(encoding="utf-8"))


@click.command()
@click.option(
    "-c",
    "--config",
    "path",
    default="config/crossfade.yaml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The configuration file.",
)
@click.option("--print", "show", is_flag=True, help="Print what is in force, defaults and all, secrets masked.")
def validate(path: Path, show: bool) -> None:
    """Check a configuration file; say everything that is wrong with it, each with its line."""
    try:
        config = read_config(path)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(1)
    if show:
        _write_yaml(config)
    routes, upstreams = _count(len(config.routes), "route"), _count(len(config.upstreams), "upstream")
    click.echo(f"{path}: ok, {routes}, {upstreams}", err=show)  # beside what --print sends to a file


@click.command()
def schema() -> None:
    """Print the JSON schema of the configuration, for editors and other checkers."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _write_yaml(config: Config) -> None:
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 120
    yaml.dump(masked(config), sys.stdout)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
