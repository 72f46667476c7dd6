"""`crossfade`: gathers the commands, and turns what goes wrong into one line and an exit code.

A command's module is imported only when that command is used, so that `crossfade status` does not load the data plane.
Exit codes: 0 done, 1 failed, 2 usage; what a command adds to them stands in its help.
"""

import importlib
from typing import Any, Final, NamedTuple

import click

from proxy import __version__
from proxy.model.errors import CrossfadeError
from proxy.telemetry.masking import mask_text


class Source(NamedTuple):
    """Where a command is defined: an attribute of a module. `help` is its line in the overview."""

    module: str
    help: str
    section: str


_RUN: Final = "Run"
_OPERATE: Final = "Operate (through the admin API)"
COMMANDS: Final = {
    "run": Source("proxy.cli.run", "Run Crossfade with a configuration.", _RUN),
    "validate": Source("proxy.cli.validate", "Check a configuration and say what is wrong with it.", _RUN),
    "schema": Source("proxy.cli.validate", "Print the configuration's JSON Schema, for editors.", _RUN),
    "override": Source("proxy.cli.override", "Print the header that lets an arm serve a tester.", _RUN),
    "demo": Source("proxy.cli.demo", "Show the whole story on this machine in about a minute.", _RUN),
    "status": Source("proxy.cli.status", "Show where the rollouts stand.", _OPERATE),
    "promote": Source("proxy.cli.operate", "Move a rollout to its next stage, or with --full to the last.", _OPERATE),
    "pause": Source("proxy.cli.operate", "Hold a rollout where it is.", _OPERATE),
    "resume": Source("proxy.cli.operate", "Let a paused rollout go on.", _OPERATE),
    "abort": Source("proxy.cli.operate", "Swap all traffic of a route back to legacy.", _OPERATE),
    "retry": Source("proxy.cli.operate", "Start a rolled-back rollout again from its first stage.", _OPERATE),
    "pairs": Source("proxy.cli.pairs", "Show, export what both arms did with the same requests.", _OPERATE),
    "escalations": Source("proxy.cli.escalations", "Show what the agent handed over to the human.", _OPERATE),
    "escalation": Source("proxy.cli.escalations", "Show all that is known of one of these.", _OPERATE),
    "outcomes": Source("proxy.cli.outcomes", "Tell what humans decided, to close pairs that wait.", _OPERATE),
    "explain": Source("proxy.cli.explain", "Say which arm a user gets, now and at each stage, and why.", _OPERATE),
    "history": Source("proxy.cli.history", "Show who or what moved a rollout, and on what evidence.", _OPERATE),
    "evidence": Source("proxy.cli.history", "Show what was seen at each stage, of earlier versions too.", _OPERATE),
    "reload": Source("proxy.cli.operate", "Read the configuration again.", _OPERATE),
}


class Failure(click.ClickException):
    """An error of ours as click shows it: one line, exit code 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"crossfade: {mask_text(self.message)}", file=file, err=file is None)


class Commands(click.Group):
    """A group whose commands are named in a table and imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        source = COMMANDS.get(cmd_name)
        if source is None:
            return None
        command: click.Command = getattr(importlib.import_module(source.module), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        for section in (_RUN, _OPERATE):
            with formatter.section(section):
                formatter.write_dl([(name, at.help) for name, at in COMMANDS.items() if at.section == section])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CrossfadeError as error:
            raise Failure(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="crossfade")
def crossfade() -> None:
    """Take an AI agent to production in front of a human workflow: shadow, canary, and back at the first sign of
    trouble."""


def main() -> None:
    crossfade(prog_name="crossfade")
