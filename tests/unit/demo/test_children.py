"""Real child processes: started, watched, ended."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.demo.children import Child, ChildError


async def module(folder: Path, source: str) -> Child:
    """A child that runs `source`, once it has printed its first line."""
    (folder / "playedchild.py").write_text(source)
    child = await Child.start("played", ["playedchild"], folder)
    await until(lambda: child.log.stat().st_size > 0)
    return child


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_service_tells_its_address(tmp_path: Path) -> None:
    child = await Child.start("human", ["proxy.demo.human", "--port", "0"], tmp_path)
    try:
        host, port = (await child.address()).split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        await writer.wait_closed()
    finally:
        assert await child.stop() == ""


async def test_a_child_that_ended_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = await module(tmp_path, "import sys\nprint('what went wrong')\nsys.exit(3)\n")
    await child.stop()

    with pytest.raises(ChildError, match=r"played ended with -?\d+; the end of its log:\nwhat went wrong"):
        child.check()


async def test_an_address_in_use_is_told(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        child = await Child.start("human", ["proxy.demo.human", "--port", str(port)], tmp_path)

        with pytest.raises(ChildError, match=rf"human ended with 1; .*\n.*cannot listen on 127\.0\.0\.1:{port}"):
            await child.address()


async def test_an_exit_code_at_the_end_is_told(tmp_path: Path) -> None:
    child = await module(
        tmp_path,
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint('up')\nsignal.pause()\n",
    )

    assert await child.stop() == "played ended with 7 when asked to end"


async def test_kill_reaches_grandchildren_in_sessions_of_their_own(tmp_path: Path) -> None:
    child = await module(
        tmp_path,
        "import signal, subprocess\n"
        "print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.pause()\n",
    )
    grandchild = int(child.tail())
    assert alive(grandchild)

    child.kill()

    assert await child.stop() == "played ended with -9 when asked to end"
    await until(lambda: not alive(grandchild))


async def test_the_tail_of_a_long_log_is_short(tmp_path: Path) -> None:
    child = await module(tmp_path, "for number in range(9000): print('line', number)\n")
    await child.stop()

    assert len(child.tail().splitlines()) <= 20
    assert os.fspath(child.log).endswith("played.log")
