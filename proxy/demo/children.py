"""The demonstration's child processes. Each has a session of its own, so that Ctrl-C in a terminal reaches only us, and
we end them in their order.
"""

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from proxy.demo.service import LISTENING

_GRACE: Final = 25.0
"""Seconds: longer than `crossfade run` may take to drain (5 s here), write down what it knows and end its store."""

_START_TIMEOUT: Final = 20.0
_TAIL: Final = 16 << 10


class ChildError(Exception):
    """A child did not start or ended by itself; the text says which and shows the end of its log."""


class Child:
    """One `python -m ...` process whose output goes to a log file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name, self.log, self._process = name, log, process

    @classmethod
    async def start(cls, name: str, arguments: list[str], folder: Path) -> "Child":
        log = folder / f"{name}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-u", "-m", *arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, start_new_session=True,
            )  # fmt: skip
        return cls(name, process, log)

    def check(self) -> None:
        """Raises ChildError where the process has ended."""
        if self._process.returncode is not None:
            raise ChildError(f"{self.name} ended with {self._process.returncode}; the end of its log:\n{self.tail()}")

    def tail(self, lines: int = 20) -> str:
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    async def address(self) -> str:
        """The `host:port` that a bundled service listens on, once it does."""
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            self.check()
            for line in self.log.read_text().splitlines():
                if line.startswith(LISTENING):
                    return line.removeprefix(LISTENING)
            await asyncio.sleep(0.05)
        raise ChildError(f"{self.name} did not listen within {_START_TIMEOUT:.0f} s:\n{self.tail()}")

    async def stop(self) -> str:
        """SIGTERM and wait; SIGKILL where that takes too long. Empty, or what was wrong with its end.

        One that had ended before is `check`'s to report.
        """
        if self._process.returncode is not None:
            return ""
        self._process.terminate()
        try:
            async with asyncio.timeout(_GRACE):
                code = await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
            return f"{self.name} did not end within {_GRACE:.0f} s and was killed"
        return f"{self.name} ended with {code} when asked to end" if code else ""

    def kill(self) -> None:
        """SIGKILL to the process, while it runs, and to everything that it started."""
        if self._process.returncode is None:
            for pid in (self._process.pid, *_descendants(self._process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _descendants(ancestor: int) -> list[int]:
    """Process ids of all children and their children, as `/proc` knows them now."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = list(children.get(ancestor, ()))
    for pid in found:  # grows while it is walked
        found += children.get(pid, ())
    return found
