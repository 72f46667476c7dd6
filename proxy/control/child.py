"""One process under the supervisor: started, waited for until it is ready, ended, and how long to wait before it is
started again.

A child stands in a session of its own, so that Ctrl-C in a terminal reaches the supervisor alone, which then ends the
others in their order.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from proxy.model.clock import Clock
from proxy.model.errors import CrossfadeError
from proxy.telemetry.life import ERROR, READY

START_TIMEOUT: Final = 30.0
_LONGEST_LINE: Final = 64 << 10
_LARGEST_OUTPUT: Final = 1 << 20
_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class StartError(CrossfadeError):
    """A child did not become ready. `str()` is the line that the operator gets to see."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `fds` are inherited. `ready`, where given, waits until the program serves; without it the program is
    one of ours and says so itself on the pipe `--ready-fd` (see `proxy.telemetry.life`). `output` is the file that
    takes what the program prints; without it, it prints where we do."""

    name: str
    argv: tuple[str, ...]
    fds: tuple[int, ...] = ()
    ready: Callable[[], Awaitable[None]] | None = None
    output: Path | None = None


class Backoff:
    """The wait before a dead child is started again: 100 ms, doubled each time up to 5 s, and 100 ms again for one that
    lived for 10 s. A crash is mended at once; a crash loop does not eat the machine."""

    FIRST, LONGEST, HEALTHY = 0.1, 5.0, 10.0

    def __init__(self) -> None:
        self._next = self.FIRST

    def after(self, lived: float) -> float:
        if lived >= self.HEALTHY:
            self._next = self.FIRST
        wait, self._next = self._next, min(self._next * 2, self.LONGEST)
        return wait


class Child:
    """A `Program` and, while there is one, its process."""

    def __init__(self, program: Program, clock: Clock) -> None:
        self.name, self._program, self._clock = program.name, program, clock
        self._process: asyncio.subprocess.Process | None = None
        self._started = 0.0
        self._ready = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def ready(self) -> bool:
        return self._ready and self.pid is not None

    @property
    def lived(self) -> float:
        """Seconds since the last start."""
        return self._clock.monotonic() - self._started

    async def start(self, *extra: str) -> str:
        """Run the program and return what it says when it is ready. StartError where it ends or stays silent."""
        self._started, self._ready = self._clock.monotonic(), False
        try:
            async with asyncio.timeout(START_TIMEOUT):
                if self._program.ready is not None:
                    said = await self._start_foreign(self._program.ready)
                else:
                    said = await self._start_ours(extra)
        except TimeoutError:
            await self.kill()
            raise StartError(f"{self.name} was not ready within {START_TIMEOUT:g} s; its log may say why") from None
        self._ready = True
        return said

    async def ended(self) -> int:
        """Wait for the end: the exit code, or minus the signal that killed it."""
        return await self._process.wait() if self._process else 0

    def signal(self, number: signal.Signals) -> None:
        if self._process and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop(self, timeout: float) -> bool:  # noqa: ASYNC109  # it ends in SIGKILL, not in an exception
        """SIGTERM, and SIGKILL after `timeout` seconds. Whether it ended by itself."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout):
                await self.ended()
        except TimeoutError:
            await self.kill()
            return False
        return True

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.ended()

    async def _start_ours(self, extra: Sequence[str]) -> str:
        hears, speaks = os.pipe()
        try:
            fds = (*self._program.fds, speaks)
            await self._spawn([*self._program.argv, *extra, "--ready-fd", str(speaks)], fds)
        except BaseException:
            os.close(hears)
            raise
        finally:
            os.close(speaks)
        line = await _first_line(hears)
        word, _, text = line.partition(" ")
        if word == READY:
            return text
        code = await self.ended()
        raise StartError(text if word == ERROR else f"{self.name} ended with {code} before it was ready; see its log")

    async def _start_foreign(self, ready: Callable[[], Awaitable[None]]) -> str:
        await self._spawn(self._program.argv, self._program.fds)
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._refuse_to_end())
                await ready()
                watch.cancel()
        except ExceptionGroup as failed:
            await self.kill()
            raise StartError(f"{self.name} did not start: {failed.exceptions[0]}") from None
        return ""

    async def _refuse_to_end(self) -> None:
        raise StartError(f"it ended with {await self.ended()}; its log may say why")

    async def _spawn(self, argv: Sequence[str], fds: tuple[int, ...]) -> None:
        # Ours watch the life pipe and drain when the supervisor dies. A foreign program cannot, so the kernel ends it.
        dies_with_us = _die_with_parent if self._program.ready and _libc else None
        with _opened(self._program.output) as output:
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=fds,
                start_new_session=True,
                preexec_fn=dies_with_us,
            )


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[bytes] | None]:
    """The file at its end; one that has grown is put aside first, so that two of them are all there ever is."""
    if path is None:
        yield None
        return
    with suppress(FileNotFoundError):
        if path.stat().st_size > _LARGEST_OUTPUT:
            path.replace(path.with_name(path.name + ".old"))
    with path.open("ab") as output:
        yield output


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


async def _first_line(fd: int) -> str:
    """The first line that arrives on the pipe, or what came before its end. Closes `fd`."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LONGEST_LINE, loop=loop)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0))
    try:
        return (await reader.readline()).decode(errors="replace").strip()
    finally:
        transport.close()
