"""`crossfade run` as an operator has it: real processes before two scripted upstreams, its log read line by line."""

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import aiohttp

from proxy.storage import owed
from tests.e2e.processes import alive_below, die_with_us, reap
from tests.integration.gateway.peers import Message, ScriptedUpstream, answer

COMMAND = Path(sys.executable).with_name("crossfade")
PATIENCE = 20.0
MEMORY = owed.MEMORY

CONFIG = """\
listen: {{address: "127.0.0.1:0"}}
admin: {{address: "127.0.0.1:{admin}"}}
drain_timeout: 5s
data_dir: {data_dir}
upstreams:
  human: {{url: "http://127.0.0.1:{human}"}}
  agent: {{url: "http://127.0.0.1:{agent}"}}
routes:
  - name: refunds
    match: {{path_prefix: /refunds}}
    legacy: human
    rollout:
      agent: agent
      version: v1
      key: [{{header: x-user}}]
      salt: s
      compare: {{decision: $.decision}}
      stages:
        - {{name: shadow, weight: 0, soak: 1h}}
        - {{name: canary, weight: 50, soak: 1h}}
        - {{name: full, weight: 100}}
  - name: plain
    legacy: human
"""

Line = dict[str, Any]


class Crossfade:
    """One `crossfade run`; what it writes goes to a file, like a service's. `log` is that of its present start.
    `descriptors` is how many each of its processes may have, where that is set before the start."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.users = self.admin = ""
        self.descriptors: int | None = None
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
        self._output = file.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    # Its life

    async def start(self) -> None:
        self.launch()
        listening = await self.line("listening")
        self.users, self.admin = f"http://{listening['on']}", f"http://{listening['admin']}"

    def launch(self) -> None:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [COMMAND, "run", "-c", self.file],
                stderr=output,
                env={**os.environ, "CROSSFADE_LOG": "json"},
                start_new_session=True,
                preexec_fn=self._prepare,  # noqa: PLW1509  # these are two system calls
            )

    def _prepare(self) -> None:
        die_with_us()
        if self.descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors // 2, self.descriptors))

    async def restart(self) -> None:
        assert await self.stop() == 0
        await self.start()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.tell(number)
        return await self.ended()

    async def ended(self) -> int:
        """The exit code."""
        async with asyncio.timeout(PATIENCE):
            while (code := self._running.poll()) is None:
                await asyncio.sleep(0.01)
        return code

    async def forget_connections(self) -> None:
        """The next request connects anew."""
        await self.session.close()
        self.session = aiohttp.ClientSession(timeout=self.session.timeout)

    def tell(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def crash(self) -> None:
        """All its processes at once, as if the machine had lost its power."""
        children = alive_below(self.pid)
        for pid in [self.pid, *children]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.ended()
        reap(children)

    async def close(self) -> None:
        """Leave nothing behind, whatever the test did."""
        await self.session.close()
        if self._process is not None:
            await self.crash()
        for directory in self.file.parent.glob("data/spool/worker-*"):
            with patch.object(owed, "MEMORY", MEMORY):  # theirs, not the tests'
                owed.forget(directory)

    # Its processes

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was not started"
        return self._process

    @property
    def pid(self) -> int:
        return self._running.pid

    def child(self, title: str) -> int:
        """The process id of `control`, `valkey` or `worker N`."""
        (found,) = (pid for pid, command in alive_below(self.pid).items() if command.startswith(f"crossfade: {title}"))
        return found

    def kill(self, title: str, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.child(title), number)

    @property
    def port(self) -> int:
        """Where users connect."""
        return urlsplit(self.users).port or 0

    # Its log

    @property
    def log(self) -> list[Line]:
        return [json.loads(text) for text in self._lines() if text.startswith("{")]

    @property
    def noise(self) -> list[str]:
        """What it wrote that is no line of the log."""
        return [text for text in self._lines() if not text.startswith("{")]

    async def line(self, event: str, *, after: int = 0, **fields: object) -> Line:
        """The first line of this event, with these fields, that comes after so many lines."""
        async with asyncio.timeout(PATIENCE):
            while True:
                over = self._running.poll() is not None
                for line in self.log[after:]:
                    if line["event"] == event and fields.items() <= line.items():
                        return line
                if over:
                    raise AssertionError(f"it ended without {event}: {self.noise} {self.log[-5:]}")
                await asyncio.sleep(0.02)

    def _lines(self) -> list[str]:
        """Whole ones only."""
        return self._output.read_text().split("\n")[:-1]

    # What it serves

    async def ask(self, user: str = "u", path: str = "/refunds/1") -> tuple[int, str]:
        """Status, and the arm that answered."""
        async with self.session.post(self.users + path, headers={"x-user": user}, json={}) as response:
            await response.read()
            return response.status, response.headers.get("x-crossfade-arm", "")

    async def ask_many(self, count: int) -> list[tuple[int, str]]:
        return [await self.ask(f"u{number}") for number in range(count)]

    async def route(self) -> dict[str, Any]:
        async with self.session.get(self.admin + "/api/v1/routes/refunds") as response:
            document: dict[str, Any] = await response.json()
            return document

    async def pairs(self) -> list[dict[str, Any]]:
        """The newest page of them."""
        async with self.session.get(self.admin + "/api/v1/routes/refunds/pairs") as response:
            pairs: list[dict[str, Any]] = (await response.json())["pairs"]
            return pairs

    async def history(self) -> list[dict[str, Any]]:
        """What moved the rollout, newest first."""
        async with self.session.get(self.admin + "/api/v1/routes/refunds/history") as response:
            events: list[dict[str, Any]] = (await response.json())["events"]
            return events

    async def verb(self, verb: str, **body: Any) -> dict[str, Any]:
        async with self.session.post(f"{self.admin}/api/v1/routes/refunds/{verb}", json=body) as response:
            assert response.status == 200, await response.text()
            document: dict[str, Any] = await response.json()
            return document

    async def metric(self, line: str) -> float | None:
        """The value of `name{labels}`."""
        async with self.session.get(self.admin + "/metrics") as response:
            for text in (await response.text()).splitlines():
                if text.startswith(line + " "):
                    return float(text.rpartition(" ")[2])
        return None

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The route, once it is as it should be. The control process may come and go meanwhile."""
        document: dict[str, Any] = {}
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    with suppress(aiohttp.ClientError):
                        document = await self.route()
                        if condition(document):
                            return document
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"it stays at {document}") from None


class Stage:
    """A folder, two upstreams, and the configuration that names them."""

    def __init__(self, folder: Path, human: ScriptedUpstream, agent: ScriptedUpstream) -> None:
        self.folder, self.human, self.agent = folder, human, agent
        self.file = folder / "crossfade.yaml"
        self.text = CONFIG.format(data_dir=folder / "data", human=human.port, agent=agent.port, admin=free_port())
        self.file.write_text(self.text)

    def write(self, *changes: tuple[str, str]) -> None:
        text = self.text
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.file.write_text(text)


_PORTS = count(20_000 + 2_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 6))


def free_port() -> int:
    """A port for the admin API: one that stays the same when the control process is started again.

    Below those that the system gives out by itself: one of these may be another test's before it is used. Tests that
    run at the same time take theirs from different places.
    """
    for port in _PORTS:
        with closing(socket.socket()) as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports do not end")


def decides(decision: str) -> ScriptedUpstream:
    return ScriptedUpstream(lambda _: answer(json.dumps({"decision": decision}).encode()))


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    human, agent = decides("approve"), decides("approve")
    await human.start()
    await agent.start()
    try:
        yield Stage(folder, human, agent)
    finally:
        await human.stop()
        await agent.stop()


def slowly(scene: Stage) -> asyncio.Event:
    """The human takes until the event is set."""
    done = asyncio.Event()

    async def answers(_request: Message) -> bytes:
        await done.wait()
        return answer(b'{"decision": "approve"}')

    scene.human.answers = answers
    return done


def all_seen(requests: int, route: dict[str, object]) -> bool:
    """Every request was shadowed, so each is an outcome of both arms, and a pair."""
    totals, agreement = route["totals"], route["agreement"]
    assert isinstance(totals, dict)
    assert isinstance(agreement, dict)
    seen = (totals["legacy"]["requests"], totals["agent"]["requests"], agreement["matched"])
    assert max(seen) <= requests, f"counted twice: {seen} of {requests}"
    return seen == (requests, requests, requests)
