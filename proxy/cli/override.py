"""`crossfade override`: a tester's pass to an arm."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import orjson

from proxy.cli.options import config_option
from proxy.config.explain import closest
from proxy.config.units import UnfitError, format_duration, parse_duration
from proxy.control import configuration
from proxy.control.configuration import Loaded
from proxy.model.errors import ConfigError
from proxy.model.words import Arm
from proxy.routing.override import HEADER, LONGEST, sign

_HOW: Final = "is missing; add override: {secret: ${OVERRIDE_SECRET}}, a secret of at least 16 characters"


def _duration(context: click.Context, parameter: click.Parameter, value: str) -> float:  # noqa: ARG001  # click's signature
    try:
        seconds = parse_duration(value)
    except UnfitError as error:
        raise click.BadParameter(f"{value!r} {error}") from None
    if not 1 <= seconds <= LONGEST:
        raise click.BadParameter(f"{value!r} is not between 1s and {format_duration(float(LONGEST))}")
    return seconds


@click.command()
@click.argument("route")
@click.option(
    "--arm",
    type=click.Choice([arm.value for arm in Arm]),
    default=Arm.AGENT.value,
    show_default=True,
    help="Who is to serve.",
)
@click.option(
    "--for", "seconds", metavar="DURATION", default="1h", show_default=True, callback=_duration, help="At most 30d."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def override(route: str, arm: str, seconds: float, as_json: bool, path: Path) -> None:
    """Print the header that lets an arm serve a tester's requests on ROUTE.

    It is signed with the configuration's override.secret and works until it expires, for whoever holds it. Requests
    that carry it count for no stage and no guard. To use it: curl -H "$(crossfade override refunds)" ...
    """
    loaded = configuration.build(str(path), configuration.read_file(path), {})  # it needs no certificate
    secret = _secret(loaded, route)
    expires = int(time.time() + seconds)
    value = sign(secret, route, Arm(arm), expires)
    if as_json:
        until = f"{datetime.fromtimestamp(expires, UTC):%Y-%m-%dT%H:%M:%SZ}"
        document = {"route": route, "arm": arm, "expires": until, "header": HEADER, "value": value}
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    else:
        click.echo(f"{HEADER}: {value}")


def _secret(loaded: Loaded, route: str) -> str:
    """The secret that signs for the route. Raises ConfigError where nothing would come of it."""
    section = loaded.config.override
    if section is None:
        raise ConfigError(_HOW, file=loaded.file, path="override")
    if route not in loaded.routes:
        raise ConfigError(f"has no {route!r}" + closest(route, loaded.routes), file=loaded.file, path="routes")
    if route not in loaded.rollouts:
        index = list(loaded.routes).index(route)
        what = f"has no rollout, so legacy serves all of {route}"
        raise ConfigError(what, file=loaded.file, path=f"routes[{index}]")
    return section.secret
