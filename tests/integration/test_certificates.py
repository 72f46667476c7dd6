"""Certificates of whole processes: renewed without a restart, and refused where they cannot be used."""

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.e2e.processes import adopting, alive_below
from tests.integration.control_world import PATIENCE, Crossfade, Stage, stage

OK = "config_last_reload_successful"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path) as opened:
        Authority(opened.folder).write()
        tls = f"tls: {{cert_file: {opened.folder}/tls.crt, key_file: {opened.folder}/tls.key}}"
        opened.write(('listen: {address: "127.0.0.1:0"}', f'listen: {{address: "127.0.0.1:0", {tls}}}'))
        yield opened


@pytest.fixture
async def crossfade(scene: Stage) -> AsyncIterator[Crossfade]:
    with adopting():
        running = Crossfade(scene.file)
        await running.start()
        yield running
        await running.close()
        for pid in alive_below():
            os.kill(pid, signal.SIGKILL)


class Door:
    """What a client meets. `answer` is asked on one connection that stays open."""

    def __init__(self, crossfade: Crossfade) -> None:
        host, _, port = crossfade.users.partition("://")[2].rpartition(":")
        self._place = (host, int(port))
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE  # which one it is, is what the tests look at

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self._place, ssl=self._context)

    async def certificate(self) -> bytes:
        _, writer = await self.open()
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return shown

    async def until_it_shows(self, folder: Path) -> None:
        expected = ssl.PEM_cert_to_DER_cert((folder / "tls.crt").read_text())
        async with asyncio.timeout(PATIENCE):
            while await self.certificate() != expected:
                await asyncio.sleep(0.05)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The status line."""
    writer.write(b"POST /refunds/1 HTTP/1.1\r\nhost: a\r\nx-user: u\r\ncontent-length: 2\r\n\r\n{}")
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return head.partition(b"\r\n")[0]


async def test_a_renewed_certificate_is_shown_and_open_connections_stay(scene: Stage, crossfade: Crossfade) -> None:
    door = Door(crossfade)
    await door.until_it_shows(scene.folder)
    before = await door.open()
    assert await ask(*before) == b"HTTP/1.1 200 OK"
    Authority(scene.folder).write()
    await door.until_it_shows(scene.folder)
    assert await ask(*before) == b"HTTP/1.1 200 OK"
    before[1].transport.abort()


async def test_one_that_cannot_be_used_is_refused_and_the_one_before_goes_on(
    scene: Stage, crossfade: Crossfade
) -> None:
    door = Door(crossfade)
    shown = await door.certificate()
    (scene.folder / "tls.key").write_text("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n")
    line = await crossfade.line("configuration_refused")
    assert (line["path"], line["line"]) == ("listen.tls.key_file", 1)
    assert await crossfade.metric(f"crossfade_{OK}") == 0
    assert await door.certificate() == shown

    here = len(crossfade.log)
    crossfade.kill("control")
    await crossfade.line("configuration_refused", after=here)
    await crossfade.line("child_started", after=here, child="control")
    await crossfade.until(lambda route: route["phase"] == "progressing")
    assert await door.certificate() == shown
    assert "hunter2" not in str(crossfade.log)

    Authority(scene.folder).write()
    await door.until_it_shows(scene.folder)
