"""`crossfade validate` and `crossfade schema`: look at a configuration without running it."""

import json
import sys
from pathlib import Path

import click
from ruamel.yaml import YAML

from proxy.cli.options import config_option
from proxy.config.load import masked
from proxy.config.schema import Config
from proxy.control import configuration
from proxy.model.errors import ConfigError


@click.command()
@config_option
@click.option("--print", "show", is_flag=True, help="Print what is in force, defaults and all, secrets masked.")
def validate(path: Path, show: bool) -> None:
    """Check a configuration file; say everything that is wrong with it, each with its line.

    Certificates and keys that it names are read too, and tried: run this as the user that runs Crossfade.
    """
    try:
        config = configuration.read(path).config
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
