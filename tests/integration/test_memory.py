"""Large bodies leave a worker small: a real process, senders that offer all they have, readers that take little.

With `--soak` the slow readers go on to the end, which takes them seventeen minutes.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Final

import pytest

from tests.e2e.processes import adopting, alive_below
from tests.integration.control_world import Crossfade, Stage, stage
from tests.integration.gateway.peers import Client, answer, connect

MIB: Final = 1 << 20
GIB: Final = 1 << 30
BOUND: Final = 100 * MIB
SLOW: Final = MIB
"""Bytes per second that a slow reader takes."""
PIECE: Final = 64 << 10
ZEROS: Final = bytes(MIB)
HEAD: Final = b"POST /refunds HTTP/1.1\r\nHost: a\r\nX-User: u\r\n"


async def take(reader: asyncio.StreamReader, size: int, pace: float) -> None:
    """`size` bytes, at most `pace` bytes per second; 0: as fast as they come."""
    start, left = monotonic(), size
    while left:
        left -= len(await reader.readexactly(min(left, PIECE)))
        ahead = (size - left) / pace - (monotonic() - start) if pace else 0.0
        if ahead > 0:
            await asyncio.sleep(ahead)


async def give(writer: asyncio.StreamWriter, size: int) -> None:
    for start in range(0, size, MIB):
        writer.write(ZEROS[: size - start])
        await writer.drain()


class Legacy:
    """Answers GET with `size` bytes, and takes a body at its `pace`."""

    def __init__(self, size: int, pace: float) -> None:
        self.size, self.pace = size, pace

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.size)
                await give(writer, self.size)
            else:
                await take(reader, self.size, self.pace)
                writer.write(answer(b"took it all"))


async def download(client: Client, size: int, pace: float) -> None:
    client.send(HEAD.replace(b"POST", b"GET") + b"\r\n")
    await client.reader.readuntil(b"\r\n\r\n")
    await take(client.reader, size, pace)


async def upload(client: Client, size: int) -> None:
    client.send(HEAD + b"Content-Length: %d\r\n\r\n" % size)
    await give(client.writer, size)
    await client.reader.readuntil(b"took it all")


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path) as opened:
        yield opened


@pytest.fixture
async def worker(scene: Stage) -> AsyncIterator[tuple[int, int]]:
    """The process id of a worker that records and copies what it can, and the port it serves."""
    with adopting():
        running = Crossfade(scene.file)
        await running.start()
        yield running.child("worker"), int(running.users.rpartition(":")[2])
        await running.close()
        for pid in alive_below():
            os.kill(pid, signal.SIGKILL)


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


async def carry(scene: Stage, port: int, size: int, pace: float, seconds: float | None) -> None:
    """An upload and a download at the same time, to their end or as far as they come in `seconds`."""
    scene.human.handler = Legacy(size, pace).serve
    async with connect(port, limit=PIECE) as one, connect(port, limit=PIECE) as other:
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as both:
                both.create_task(download(one, size, pace))
                both.create_task(upload(other, size))
        except TimeoutError:
            assert seconds is not None


async def test_slow_readers_cost_no_memory(scene: Stage, worker: tuple[int, int]) -> None:
    pid, port = worker
    await carry(scene, port, GIB, SLOW, 4.0)
    assert peak(pid) < BOUND


async def test_large_bodies_at_full_speed_cost_no_memory(scene: Stage, worker: tuple[int, int]) -> None:
    pid, port = worker
    await carry(scene, port, GIB, 0.0, None)
    assert peak(pid) < BOUND


@pytest.mark.soak
@pytest.mark.timeout(2400)
async def test_slow_readers_get_a_gibibyte_each_way(scene: Stage, worker: tuple[int, int]) -> None:
    pid, port = worker
    await carry(scene, port, GIB, SLOW, None)
    assert peak(pid) < BOUND
