"""The demonstration from start to end: temp folder, children, users, play, summary; and nothing left behind.

Every way out, also Ctrl-C, SIGTERM and a closed terminal, ends all children and removes the folder. A second Ctrl-C
kills them at once.
"""

import asyncio
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console

from proxy.demo.children import Child, ChildError
from proxy.demo.lookout import Lookout, PlayError
from proxy.demo.play import Play
from proxy.demo.scene import ROUTE, free_port, write_config
from proxy.demo.service import LOOPBACK
from proxy.demo.show import Show, open_show
from proxy.demo.summary import Report, print_failure, print_summary
from proxy.demo.users import Users
from proxy.demo.watch import Watch
from proxy.telemetry.tasks import spawn, stop

_DEADLINE: Final = 180.0


@dataclass(frozen=True, slots=True)
class Options:
    """`rate` is in requests a second; `port` is the gateway's, 0 for a free one; `keep` leaves the folder."""

    rate: float = 120.0
    seed: int = 1
    port: int = 0
    keep: bool = False


def run(options: Options, console: Console) -> int:
    """Play it. The exit code: 0 all shown, 1 the reason is printed, 128 + n ended by signal n."""
    return asyncio.run(_Demonstration(options, console).until_signalled())


class _Demonstration:
    def __init__(self, options: Options, console: Console) -> None:
        self._options, self._console = options, console
        self._children: list[Child] = []
        self._report = Report()
        self._signal = 0

    async def until_signalled(self) -> int:
        task = asyncio.current_task()
        assert task is not None  # a coroutine that runs has one

        def interrupt(number: int) -> None:
            if self._signal:
                for child in self._children:
                    child.kill()
            else:
                self._signal = number
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
        try:
            return await self._from_start_to_end()
        except asyncio.CancelledError:
            self._print(f"ended by {signal.Signals(self._signal).name}; nothing is left running")
            return 128 + self._signal

    async def _from_start_to_end(self) -> int:
        folder = Path(tempfile.mkdtemp(prefix="crossfade-demo-"))
        began = time.monotonic()
        problem = ""
        try:
            async with asyncio.timeout(_DEADLINE):
                await self._perform(folder)
        except (PlayError, ChildError, aiohttp.ClientError) as error:
            problem = str(error) or type(error).__name__
        except TimeoutError:
            problem = f"it was not over after {_DEADLINE:.0f} s"
        finally:
            log = next((child.tail() for child in self._children if child.name == "crossfade"), "")
            unclean = await self._end_children()
            self._remove(folder)
        problem = "; ".join(filter(None, (problem, *unclean)))
        if problem:
            print_failure(self._console, problem, log)
            return 1
        print_summary(self._console, self._report, time.monotonic() - began)
        return 0

    async def _perform(self, folder: Path) -> None:
        with open_show(self._console) as show:
            human = await self._service("human", folder, self._options.seed)
            agent = await self._service("agent", folder, self._options.seed + 1)
            gateway, admin = self._options.port or free_port(), free_port()
            config = write_config(folder, gateway=gateway, admin=admin, human=human, agent=agent)
            show.event(f"the human workflow listens on {human}, the agent on {agent}")
            await self._start("crossfade", ["proxy", "run", "-c", str(config)], folder)
            show.event(f"crossfade run starts, for users on {LOOPBACK}:{gateway}, its admin API on {LOOPBACK}:{admin}")
            users = Users(
                f"http://{LOOPBACK}:{gateway}/{ROUTE}",
                rate=self._options.rate,
                seed=self._options.seed,
                limit=int(self._options.rate * _DEADLINE),
            )
            self._report.users = users
            await self._act(show, users, admin=f"http://{LOOPBACK}:{admin}", agent=f"http://{agent}")

    async def _act(self, show: Show, users: Users, *, admin: str, agent: str) -> None:
        async with aiohttp.ClientSession() as session:
            watch = Watch(session, admin)
            play = Play(Lookout(watch, users, show, self._children), watch, users, show, self._report)
            await play.opening()
            traffic = spawn(users.run(), "users")
            try:
                await play.ramp()
                await play.failure(session, agent)
            finally:
                await stop(traffic)
            await play.epilogue()

    async def _service(self, name: str, folder: Path, seed: int) -> str:
        child = await self._start(name, [f"proxy.demo.{name}", "--port", "0", "--seed", str(seed)], folder)
        return await child.address()

    async def _start(self, name: str, arguments: list[str], folder: Path) -> Child:
        child = await Child.start(name, arguments, folder)
        self._children.append(child)
        return child

    async def _end_children(self) -> list[str]:
        """End them, the latest first. Answers what was wrong with their ends."""
        return [problem for child in reversed(self._children) if (problem := await child.stop())]

    def _remove(self, folder: Path) -> None:
        if self._options.keep:
            self._print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
