"""`crossfade demo` as a newcomer runs it, and what is left when it ends: nothing."""

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.processes import adopting, alive_below

STAGES = ("shadow", "canary", "expand-10", "expand-25", "expand-50")


@pytest.fixture
def folder() -> Iterator[Path]:
    """For temp files; pytest's own folder has so long a path that sockets would go elsewhere."""
    with tempfile.TemporaryDirectory(prefix="cf-", dir="/tmp") as made:
        yield Path(made)


@asynccontextmanager
async def demonstration(folder: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The demo as a child in its own session, its temp files in `folder`."""
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", "demo", *options,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        start_new_session=True, env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    try:
        yield demo
    finally:
        if demo.returncode is None:  # the test failed: end it as a user would, at once
            with suppress(ProcessLookupError):
                demo.terminate()
            await demo.wait()


async def output(demo: asyncio.subprocess.Process, until: str = "") -> str:
    """What the demo prints up to a line with `until` in it, or to its end."""
    assert demo.stdout is not None
    lines: list[str] = []
    while line := (await demo.stdout.readline()).decode():
        lines.append(line)
        if until and until in line:
            break
    return "".join(lines)


async def test_it_shows_the_rollout_and_the_swap_back(folder: Path) -> None:
    with adopting():
        before = alive_below()
        async with asyncio.timeout(110), demonstration(folder) as demo:
            said = await output(demo)
            code = await demo.wait()
        left = {pid: command for pid, command in alive_below().items() if pid not in before}

    assert code == 0, said
    entered = re.findall(r"\* stage ([a-z0-9-]+): the agent (?:gets|serves) ", said)
    assert tuple(entered) == STAGES, said
    assert f"Shown in {seconds(said)} s: {' → '.join((*STAGES, 'degraded'))}" in said
    assert re.search(r"\* the agent now answers 500 to everything\n(.*\n)*?.*\* swapped back to legacy", said), said
    assert re.search(r"requests of 300 users answered \([\d,]+ with status 200\), 0 failed", said), said
    assert "The latest pairs in which agent and human disagreed" in said
    assert left == {}
    assert files_in(folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_every_child(folder: Path, number: signal.Signals) -> None:
    with adopting():
        before = alive_below()
        async with asyncio.timeout(60), demonstration(folder) as demo:
            said = await output(demo, until="stage shadow")
            running = alive_below(demo.pid)
            os.kill(demo.pid, number)
            said += await output(demo)
            code = await demo.wait()
        left = {pid: command for pid, command in alive_below().items() if pid not in before}

    assert len(running) >= 7, running  # human, agent, supervisor, store, control, two workers
    assert (code, left, files_in(folder)) == (128 + number, {}, []), said
    assert f"ended by {number.name}; nothing is left running" in said


async def test_a_gateway_port_in_use_is_said_in_one_line(folder: Path) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, asyncio.timeout(60), demonstration(folder, "--port", str(port)) as demo:
        said = await output(demo)
        code = await demo.wait()

    assert code == 1
    assert re.search(rf"the demo failed: .*127\.0\.0\.1:{port}", said, re.DOTALL), said
    assert "Traceback" not in said
    assert files_in(folder) == []


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def seconds(said: str) -> str:
    found = re.search(r"Shown in (\d+) s", said)
    return found[1] if found else "?"
