"""The operator's commands against a real admin server."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from aiohttp import web
from click.testing import CliRunner, Result

from proxy.admin.app import create_app, start
from proxy.admin.auth import Tokens
from proxy.cli.main import crossfade
from proxy.model.errors import ConfigError
from proxy.model.words import Verb
from proxy.telemetry.metrics import Metrics
from tests.integration.admin_world import PAIR, ROUTE, ScriptedHistory, ScriptedOperations, ScriptedPairs, tokens_file

Run = Callable[..., Awaitable[Result]]


@pytest.fixture(autouse=True)
def a_known_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "mia")
    for name in ("CROSSFADE_TOKEN", "CROSSFADE_ADMIN", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """The server's log lines, which the commands' output would otherwise hold: they share this process."""
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def operations() -> ScriptedOperations:
    return ScriptedOperations()


@pytest.fixture
def pairs() -> ScriptedPairs:
    return ScriptedPairs()


def client_of(runner: web.AppRunner) -> Run:
    """Runs a command beside the server's loop, as another process would."""
    host, port = runner.addresses[0][:2]

    async def run(*arguments: str, stdin: bytes = b"") -> Result:
        environment = {"CROSSFADE_ADMIN": f"http://{host}:{port}"}
        return await asyncio.to_thread(CliRunner().invoke, crossfade, arguments, stdin, env=environment)

    return run


@pytest.fixture
async def run(operations: ScriptedOperations, pairs: ScriptedPairs) -> AsyncIterator[Run]:
    app = create_app(operations, pairs, Metrics(process=False), ScriptedHistory())
    runner = await start(app, "127.0.0.1", 0)
    yield client_of(runner)
    await runner.cleanup()


async def test_status_of_all_routes(run: Run) -> None:
    result = await run("status")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [line[:3] for line in lines[1:]] == [["refunds", "progressing", "canary"], ["plain", "all", "to"]]


@pytest.mark.parametrize(
    "command", [("status",), ("status", "refunds"), ("history", "refunds"), ("evidence", "refunds")]
)
async def test_in_a_pipe_no_line_is_filled_with_blanks(run: Run, command: tuple[str, ...]) -> None:
    lines = (await run(*command)).stdout.splitlines()
    assert lines == [line.rstrip() for line in lines]


async def test_status_of_one_route_shows_its_gates(run: Run) -> None:
    result = await run("status", "refunds")
    assert "min_samples" in result.stdout
    assert "40 of 500 samples" in result.stdout


async def test_status_as_json_is_what_the_api_gives(run: Run) -> None:
    assert orjson.loads((await run("status", "refunds", "--json")).stdout) == ROUTE
    assert [route["name"] for route in orjson.loads((await run("status", "--json")).stdout)] == ["refunds", "plain"]


async def test_status_of_a_route_that_is_none(run: Run) -> None:
    result = await run("status", "nowhere")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "crossfade: the configuration has no route 'nowhere'\n"


@pytest.mark.parametrize(("phase", "code"), [("completed", 0), ("degraded", 3), ("paused", 4)])
async def test_waiting_ends_with_the_phase_s_exit_code(
    run: Run, operations: ScriptedOperations, monkeypatch: pytest.MonkeyPatch, phase: str, code: int
) -> None:
    reads: list[str] = []

    def route(name: str) -> dict[str, Any] | None:
        reads.append(name)
        if len(reads) == 3:
            operations.documents[name]["phase"] = phase
        return operations.documents.get(name)

    monkeypatch.setattr(operations, "route", route)
    result = await run("status", "refunds", "--wait", "--json", "--interval", "0.05")
    assert (result.exit_code, len(reads)) == (code, 3)
    assert orjson.loads(result.stdout)["phase"] == phase


async def test_waiting_no_longer_than_the_timeout(run: Run) -> None:
    result = await run("status", "refunds", "--wait", "--timeout", "0.1", "--interval", "0.05")
    assert result.exit_code == 5


async def test_watching_shows_changes_outlives_a_restart_and_ends_with_ctrl_c(
    operations: ScriptedOperations, pairs: ScriptedPairs
) -> None:
    app = create_app(operations, pairs, Metrics(process=False), ScriptedHistory())
    runner = await start(app, "127.0.0.1", 0)
    host, port = runner.addresses[0][:2]
    command = ("-m", "proxy", "status", "refunds", "--watch", "--json", "--interval", "0.05")
    watching = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        env={**os.environ, "CROSSFADE_ADMIN": f"http://{host}:{port}", "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert watching.stdout
    assert watching.stderr
    async with asyncio.timeout(30):
        assert orjson.loads(await watching.stdout.readline())["phase"] == "progressing"
        operations.documents["refunds"]["phase"] = "degraded"
        assert orjson.loads(await watching.stdout.readline())["phase"] == "degraded"
        await runner.cleanup()
        assert b"asking again" in await watching.stderr.readline()
        watching.send_signal(signal.SIGINT)
        _, said = await watching.communicate()
    assert (watching.returncode, said) == (0, b"")


async def test_waiting_for_a_route_without_rollout_ends_at_once(run: Run) -> None:
    result = await run("status", "plain", "--wait")
    assert (result.exit_code, result.stderr) == (1, "crossfade: the route 'plain' has no rollout to wait for\n")


@pytest.mark.parametrize("arguments", [["--wait"], ["refunds", "--wait", "--watch"], ["refunds", "--timeout", "1"]])
async def test_options_that_do_not_go_together(run: Run, arguments: list[str]) -> None:
    assert (await run("status", *arguments)).exit_code == 2


@pytest.mark.parametrize("verb", list(Verb))
async def test_a_verb_is_asked_for_with_actor_and_reason(run: Run, operations: ScriptedOperations, verb: Verb) -> None:
    operations.documents["refunds"]["phase"] = "paused"
    result = await run(verb, "refunds", "--reason", "as agreed")
    assert result.exit_code == 0
    assert operations.commands == [("refunds", verb, "mia", "as agreed", False)]
    assert result.stdout == "refunds: paused at canary, 5 % to agent\n"


async def test_promote_to_the_end(run: Run, operations: ScriptedOperations) -> None:
    assert (await run("promote", "refunds", "--full")).exit_code == 0
    assert operations.commands == [("refunds", Verb.PROMOTE, "mia", "", True)]


async def test_a_verb_that_is_refused(run: Run) -> None:
    result = await run("resume", "refunds")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "crossfade: refunds is progressing; only a paused rollout resumes\n"


async def test_pairs_as_a_table(run: Run, pairs: ScriptedPairs) -> None:
    result = await run("pairs", "refunds", "--verdict", "mismatched", "--limit", "5")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == [
        "refunds.1-0", "08:00:01", "mismatched", "legacy", "approve", "deny", "$.decision",
    ]  # fmt: skip
    assert pairs.asked == [("refunds", "mismatched", None, 5)]


async def test_pairs_as_json_lines_over_more_than_one_page(run: Run, pairs: ScriptedPairs) -> None:
    pairs.kept = [PAIR] * 600
    result = await run("pairs", "refunds", "--json", "--limit", "550")
    assert [orjson.loads(line) for line in result.stdout.splitlines()] == [PAIR] * 550
    assert pairs.asked == [("refunds", None, None, 500), ("refunds", None, "1-0", 50)]


async def test_no_pairs(run: Run, pairs: ScriptedPairs) -> None:
    pairs.kept = []
    result = await run("pairs", "refunds", "--verdict", "matched")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no pairs are matched\n")


KEY = "alice@example.com"


async def test_explain(run: Run, operations: ScriptedOperations) -> None:
    result = await run("explain", "refunds", "--key", KEY)
    assert result.exit_code == 0
    assert result.stdout.startswith("refunds   legacy serves this user's requests now, at canary (5 %)")
    assert (operations.keys, KEY in result.stdout) == ([KEY.encode()], False)


async def test_explain_as_json_is_what_the_api_gives(run: Run) -> None:
    document = orjson.loads((await run("explain", "refunds", "--key", KEY, "--json")).stdout)
    assert (document["now"]["arm"], document["enters"]) == ("legacy", "half" if document["bucket"] < 50_000 else None)


@pytest.mark.parametrize(
    ("key", "sent"), [("é", "é".encode()), ("\udce9", b"\xe9"), ("", b""), ("a b%20+", b"a b%20+"), (" x", b" x")]
)
async def test_a_key_is_hashed_byte_by_byte(run: Run, operations: ScriptedOperations, key: str, sent: bytes) -> None:
    assert (await run("explain", "refunds", "--key", key)).exit_code == 0
    assert operations.keys == [sent]


@pytest.mark.parametrize("given", [b"al\xe9 ce\n", b"al\xe9 ce\r\nmore\n", b"al\xe9 ce"])
async def test_a_key_from_stdin_stands_on_no_command_line(
    run: Run, operations: ScriptedOperations, given: bytes
) -> None:
    assert (await run("explain", "refunds", "--key", "-", stdin=given)).exit_code == 0
    assert operations.keys == [b"al\xe9 ce"]


async def test_explain_needs_a_key_and_a_rollout(run: Run) -> None:
    assert (await run("explain", "refunds")).exit_code == 2
    result = await run("explain", "plain", "--key", KEY)
    assert (result.exit_code, result.stderr) == (1, "crossfade: the route 'plain' has no rollout\n")


async def test_history(run: Run) -> None:
    result = await run("history", "refunds")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "2026-11-18 11:06:40 UTC  advance by controller")
    (event,) = map(orjson.loads, (await run("history", "refunds", "--json")).stdout.splitlines())
    assert (event["actor"], event["gates"][0]["bound"]) == ("controller", 0.955)


async def test_evidence(run: Run) -> None:
    result = await run("evidence", "refunds")
    assert result.exit_code == 0
    assert [line for line in result.stdout.splitlines() if line.startswith("version")] == [
        "version 2026-11-22, start 2",
        "version 2026-10-01, start 1",
    ]
    stages = [orjson.loads(line) for line in (await run("evidence", "refunds", "--json")).stdout.splitlines()]
    assert [(stage["epoch"], stage["stage"]) for stage in stages] == [(2, "canary"), (2, "shadow"), (1, "shadow")]


@pytest.mark.parametrize(
    ("command", "said"), [("history", "no moves are kept\n"), ("evidence", "no evidence is kept\n")]
)
async def test_nothing_is_kept_yet(run: Run, command: str, said: str) -> None:
    result = await run(command, "plain")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", said)


async def test_reload(run: Run, operations: ScriptedOperations) -> None:
    result = await run("reload")
    assert (result.exit_code, result.stdout) == (0, "applied: snapshot 7\n")
    assert operations.reloads == ["mia"]


async def test_reload_of_a_bad_file_tells_every_problem(run: Run, operations: ScriptedOperations) -> None:
    first, second = ConfigError("no such key", file="c.yaml", line=2), ConfigError("over 100", file="c.yaml", line=5)
    operations.failure = ConfigError("no such key", file="c.yaml", line=2, problems=(first, second))
    result = await run("reload")
    assert (result.exit_code, result.stderr) == (1, "crossfade: c.yaml:2: no such key\nc.yaml:5: over 100\n")


async def test_with_tokens(
    operations: ScriptedOperations, pairs: ScriptedPairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = Tokens(tokens_file(tmp_path))
    app = create_app(operations, pairs, Metrics(process=False), ScriptedHistory(), tokens=tokens)
    runner = await start(app, "127.0.0.1", 0)
    run = client_of(runner)

    result = await run("status")
    assert result.exit_code == 1
    assert "set CROSSFADE_TOKEN or --token-file" in result.stderr

    monkeypatch.setenv("CROSSFADE_TOKEN", "red")
    assert (await run("status")).exit_code == 0
    assert (await run("explain", "refunds", "--key", "alice")).exit_code == 0
    result = await run("abort", "refunds")
    assert (result.exit_code, "may only read" in result.stderr) == (1, True)

    (tmp_path / "token").write_text("blue\n")
    assert (await run("abort", "refunds", "--token-file", str(tmp_path / "token"))).exit_code == 0
    assert operations.commands == [("refunds", Verb.ABORT, "bo", "", False)]
    await runner.cleanup()
