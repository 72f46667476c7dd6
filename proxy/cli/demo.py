"""`crossfade demo`: the whole story on this machine in about a minute."""

import sys

import click
from rich.console import Console

from proxy.demo.run import Options, run


@click.command()
@click.option("--rate", default=120.0, show_default=True, type=click.FloatRange(60, 400), help="Requests a second.")
@click.option("--seed", default=1, show_default=True, help="Of users, requests and latencies.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="The gateway's port; a free one by default.")
@click.option("--keep", is_flag=True, help="Keep the folder with data, configuration and logs.")
def demo(rate: float, seed: int, port: int, keep: bool) -> None:
    """Show a rollout from shadow to 50 % and the swap back, with bundled services and users."""
    sys.exit(run(Options(rate, seed, port, keep), Console()))
