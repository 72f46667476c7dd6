"""The operator's verbs: each asks the admin API, says how the rollout then stands and adds nothing of its own."""

from typing import Any

import click

from proxy.cli.client import AdminClient
from proxy.cli.options import user_name, with_admin
from proxy.model.words import Verb


def _verb(verb: Verb, text: str) -> click.Command:
    """A command that asks for `verb` and prints how the route then stands."""

    @with_admin
    def ask(client: AdminClient, route: str, reason: str, full: bool = False) -> None:
        body: dict[str, Any] = {"reason": reason, "actor": user_name()}
        document = client.command(route, verb, body | {"full": True} if full else body)
        where = f"{document['stage']}, {document['weight']:g} % to {document['agent']}"
        click.echo(f"{document['name']}: {document['phase']} at {where}")

    command = click.option("--reason", default="", help="Kept in the history, for those who ask later.")(ask)
    if verb is Verb.PROMOTE:
        command = click.option("--full", is_flag=True, help="To the last stage at once.")(command)
    return click.command(verb.value, help=text)(click.argument("route")(command))


promote = _verb(Verb.PROMOTE, "Move the rollout of ROUTE to its next stage, whatever its gates say.")
pause = _verb(Verb.PAUSE, "Hold the rollout of ROUTE where it is. Its traffic stays; the guard stays awake.")
resume = _verb(Verb.RESUME, "Let the paused rollout of ROUTE go on.")
abort = _verb(Verb.ABORT, "Swap all traffic of ROUTE back to legacy, now.")
retry = _verb(Verb.RETRY, "Start the rolled-back rollout of ROUTE again from its first stage.")


@click.command()
@with_admin
def reload(client: AdminClient) -> None:
    """Read the configuration again. A bad file changes nothing, and is explained."""
    answer = client.reload({"actor": user_name()})
    click.echo(f"{answer['result']}: snapshot {answer['snapshot']}")
