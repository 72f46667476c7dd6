"""Several replicas of Crossfade on one store, before the same two arms; and a way to the store that can be cut."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from proxy.telemetry.tasks import spawn, stop
from tests.e2e.processes import adopting, alive_below, reap
from tests.integration.control_world import PATIENCE, Crossfade, Stage, decides
from tests.integration.traffic import Arm, visit

Route = dict[str, Any]
Change = tuple[str, str]


class Fleet:
    """`human` and `agent` are asked by all of them."""

    def __init__(self, human: Arm, agent: Arm, crossfades: list[Crossfade]) -> None:
        self.human, self.agent, self.crossfades = human, agent, crossfades

    async def all(self, condition: Callable[[Route], bool]) -> list[Route]:
        """The route by the word of each replica, once it is everywhere as it should be."""
        return await asyncio.gather(*(each.until(condition) for each in self.crossfades))

    async def leader(self) -> Crossfade:
        """The one that decides, once there is one."""
        async with asyncio.timeout(PATIENCE):
            while True:
                leading = [each for each in self.crossfades if await each.metric("crossfade_leader") == 1.0]
                if len(leading) == 1:
                    return leading[0]
                await asyncio.sleep(0.05)

    async def workers(self) -> list[str]:
        """The life of each replica's worker, as the arms see it."""
        lives = []
        for each in self.crossfades:
            await visit(each, "whoever")
            lives.append(max(self.human.asked + self.agent.asked).worker)
        return lives


@asynccontextmanager
async def fleet(folder: Path, stores: list[str], *changes: Change) -> AsyncIterator[Fleet]:
    """One replica for each way to the store, all started."""
    before = alive_below()
    async with AsyncExitStack() as stack:
        stack.enter_context(adopting())
        stack.callback(_end_all_but, before)
        human, agent = decides("approve"), decides("approve")
        for arm in (human, agent):
            await arm.start()
            stack.push_async_callback(arm.stop)
        crossfades = []
        for number, store in enumerate(stores, 1):
            place = folder / f"replica-{number}"
            place.mkdir()
            scene = Stage(place, human, agent)
            scene.write(("listen:", f"store: {store}\nlisten:"), *changes)
            crossfades.append(Crossfade(scene.file))
            stack.push_async_callback(crossfades[-1].close)
        await asyncio.gather(*(each.start() for each in crossfades))
        yield Fleet(Arm(human), Arm(agent), crossfades)


async def attempt(crossfade: Crossfade, verb: str) -> int:
    """Ask for it; the answer's status."""
    async with crossfade.session.post(f"{crossfade.admin}/api/v1/routes/refunds/{verb}", json={}) as response:
        return response.status


def _end_all_but(these: dict[int, str]) -> None:
    strays = alive_below().keys() - these.keys()
    for pid in strays:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    reap(strays)


class Wire:
    """A way to `store`. While it is cut nothing passes, and nobody is told: connections stay open, and new ones are
    taken."""

    def __init__(self, store: str) -> None:
        self._path = urlsplit(store).path
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._taken, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.mend()
        await stop(*self._tasks)

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        back, forth = await asyncio.open_unix_connection(self._path)
        self._tasks += [spawn(self._pass(reader, forth), "to the store"), spawn(self._pass(back, writer), "back")]

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


async def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.05)
