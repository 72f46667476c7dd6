"""`crossfade pairs export` and what else `crossfade pairs` does, against a real server."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from proxy.admin.app import create_app, start
from proxy.cli.main import crossfade
from proxy.model.errors import StoreUnavailableError
from proxy.telemetry.metrics import Metrics
from tests.integration.admin_world import PAIR, ScriptedHistory, ScriptedOperations, ScriptedPairs, ScriptedSteps

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def pairs() -> ScriptedPairs:
    """Nine of them, newest first."""
    pairs = ScriptedPairs()
    pairs.kept = [{**PAIR, "id": f"refunds.{n}000-0", "text": "é\n" * n} for n in range(9, 0, -1)]
    return pairs


@pytest.fixture
async def run(pairs: ScriptedPairs) -> AsyncIterator[Run]:
    operations = ScriptedOperations()
    operations.documents["export"] = operations.documents["refunds"]
    app = create_app(operations, pairs, Metrics(process=False), ScriptedHistory(), steps=ScriptedSteps())
    runner = await start(app, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def run(*arguments: str | Path) -> Result:
        return await asyncio.to_thread(
            CliRunner().invoke, crossfade, [*map(str, arguments)], env={"CROSSFADE_ADMIN": url}
        )

    yield run
    await runner.cleanup()


def ids(data: bytes | str) -> list[str]:
    return [orjson.loads(line)["id"] for line in data.splitlines()]


ALL = [f"refunds.{n}000-0" for n in range(1, 10)]


async def test_to_a_file_and_to_the_terminal(run: Run, pairs: ScriptedPairs, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    result = await run("pairs", "export", "refunds", "--since", "7d", "-o", file)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "9 pairs\n")
    assert [orjson.loads(line) for line in file.read_bytes().splitlines()] == pairs.kept[::-1]
    result = await run("pairs", "export", "refunds", "--after", "refunds.7000-0")
    assert (ids(result.stdout), result.stderr) == (ALL[7:], "2 pairs\n")
    result = await run("pairs", "export", "refunds", "--verdict", "mismatched")
    assert {verdict for _, verdict, *_ in pairs.asked[-3:]} == {"mismatched"}


async def test_an_export_that_broke_off_goes_on(run: Run, pairs: ScriptedPairs, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    pairs.broken = (2, StoreUnavailableError("it went away"))
    result = await run("pairs", "export", "refunds", "-o", file)
    assert result.exit_code == 1
    assert result.stderr.startswith("crossfade: the export broke off after 4 pairs: ")
    assert result.stderr.endswith("; go on with --resume\n")
    pairs.broken = None
    result = await run("pairs", "export", "refunds", "-o", file, "--resume")
    assert (result.exit_code, result.stderr) == (0, "5 pairs\n")
    assert ids(file.read_bytes()) == ALL
    result = await run("pairs", "export", "refunds", "-o", file, "--resume")
    assert (ids(file.read_bytes()), result.stderr) == (ALL, "0 pairs\n")


async def test_wherever_it_was_killed_it_goes_on_to_the_same_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    await run("pairs", "export", "refunds", "-o", file)
    whole = file.read_bytes()
    cuts = random.Random(1).sample(range(len(whole)), 20)
    for cut in (0, 1, whole.index(b"\n"), whole.index(b"\n") + 1, len(whole) - 1, *cuts):
        file.write_bytes(whole[:cut])
        result = await run("pairs", "export", "refunds", "-o", file, "--resume")
        assert result.exit_code == 0, (cut, result.stderr)
        assert file.read_bytes() == whole, cut


async def test_what_is_there_is_not_written_over(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("precious\n")
    result = await run("pairs", "export", "refunds", "-o", file)
    assert result.exit_code == 1
    assert "is there already; go on with it by --resume, or name another file" in result.stderr
    result = await run("pairs", "export", "refunds", "-o", file, "--resume")
    assert result.exit_code == 1
    assert "does not end with a pair" in result.stderr
    assert file.read_text() == "precious\n"
    result = await run("pairs", "export", "refunds", "-o", tmp_path / "no" / "where")
    assert "cannot be written: No such file or directory" in result.stderr


@pytest.mark.parametrize("options", [("--resume",), ("--resume", "--after", "refunds.1-0", "-o", "x")])
async def test_what_does_not_go_together(run: Run, options: tuple[str, ...]) -> None:
    assert (await run("pairs", "export", "refunds", *options)).exit_code == 2


async def test_what_the_api_refuses_leaves_no_file(run: Run, pairs: ScriptedPairs, tmp_path: Path) -> None:
    result = await run("pairs", "export", "nothing")
    assert (result.exit_code, result.stderr) == (1, "crossfade: the configuration has no route 'nothing'\n")
    result = await run("pairs", "export", "refunds", "--since", "yesterday")
    assert "since: must be a duration such as 7d" in result.stderr


async def test_an_export_of_nothing(run: Run, pairs: ScriptedPairs) -> None:
    pairs.kept = []
    result = await run("pairs", "export", "refunds")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "0 pairs\n")


# The group


async def test_a_route_that_is_called_like_a_command_can_be_listed(run: Run, pairs: ScriptedPairs) -> None:
    assert (await run("pairs", "list", "export", "--limit", "1")).exit_code == 0
    assert (await run("pairs", "--limit", "1", "refunds")).exit_code == 0
    assert [route for route, *_ in pairs.asked] == ["export", "refunds"]
    told = await run("pairs", "--help")
    assert told.exit_code == 0
    assert all(word in told.stdout for word in ("ROUTE", "list", "show", "export"))


async def test_an_open_pair_shows_nothing_of_the_agent_s_unless_it_is_revealed(run: Run, pairs: ScriptedPairs) -> None:
    waits = {"until": "2027-01-01T00:00:00.000Z", "unfit": ""}
    pairs.kept = [{**PAIR, "verdict": "pending", "pending": waits, "trace_id": "0" * 32}]
    for command in (("pairs", "refunds"), ("pairs", "show", "refunds.1-0"), ("pairs", "export", "refunds")):
        told = (await run(*command)).stdout
        assert "deny" not in told
        assert "hidden" in told
        assert "deny" in (await run(*command, "--reveal")).stdout


async def test_one_pair_with_both_arms_side_by_side(run: Run, pairs: ScriptedPairs) -> None:
    hostile: dict[str, Any] = {**PAIR["agent"], "body": {"why": "\x1b[2J[red]"}}
    pairs.kept = [{
        **PAIR, "agent": hostile, "request": {"method": "POST", "target": "/refunds", "body": {"amount": 5}},
        "revisions": [{"decision": "approve", "decided_at": "2026-11-22T09:00:00.000Z", "by": "ana", "via": "api"}],
    }]  # fmt: skip
    told = (await run("pairs", "show", "refunds.1-0")).stdout
    lines = [line.split() for line in told.splitlines()]
    assert ["decision", "approve", "deny"] in lines
    assert ["$.decision", '"approve"', '"deny"'] in lines
    assert ["2026-11-22", "09:00:00", '"approve"', "by", "ana,", "via", "api"] in lines
    assert "\x1b" not in told
    assert "[red]" in told
    assert orjson.loads((await run("pairs", "show", "refunds.1-0", "--json")).stdout) == pairs.kept[0]
    assert (await run("pairs", "show", "refunds.7-0")).stderr == "crossfade: no pair 'refunds.7-0' is kept\n"


async def test_a_pair_that_cannot_be_read_is_named(run: Run, pairs: ScriptedPairs) -> None:
    pairs.kept = [{"id": "refunds.1-0", "unreadable": "its key is gone"}, PAIR]
    assert "unreadable" in (await run("pairs", "refunds")).stdout
    assert (await run("pairs", "show", "refunds.1-0")).stdout == "refunds.1-0 cannot be read: its key is gone\n"
