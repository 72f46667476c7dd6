"""Ends over TLS, where uvloop knows no half-closed connection: whoever leaves, and however, nothing stays behind."""

import asyncio
import random
import ssl
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.certificates import Authority
from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.peers import Message, answer, connect, read_message, request
from tests.integration.gateway.secured import listen, secure, speak_tls

pytestmark = pytest.mark.usefixtures("quiet")


async def test_a_client_that_ends_its_tls_is_gone(world: World, authority: Authority) -> None:
    """uvloop knows no half-closed TLS: its request is cancelled, and nothing is logged."""
    world.human.answers = lambda _: asyncio.Event().wait()  # type: ignore[assignment,return-value]  # never
    listen(world, authority.listen())
    with capture_logs() as logs:
        async with secure(world, authority.client()) as client:
            client.send(request("GET", "/plain", b""))
            await world.human.wait_for(1)
        await until(lambda: not world.worker.clients)
    assert world.counts("client_gone_total") == {("plain",): 1}
    assert logs == []


async def test_an_idle_client_that_does_not_end_its_side_is_let_go(world: World, authority: Authority) -> None:
    world.limits = replace(world.limits, idle_timeout=0.3)
    listen(world, authority.listen())
    async with secure(world, authority.client()) as client:
        await client.ask("GET", "/plain", b"")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport reads as well
        await until(lambda: not world.worker.clients, 8)


async def test_however_clients_and_upstreams_leave_nothing_stays_behind(world: World, authority: Authority) -> None:
    dice = random.Random(7)
    context = authority.client()

    async def moody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_message(reader) is not None:
            writer.write(answer(bytes(dice.choice((1, 100_000, 1_000_000)))))
            mood = dice.random()
            if mood < 0.2:
                writer.transport.abort()
                return
            if mood < 0.4:
                return

    async def leaves(number: int) -> None:
        mood = number % 6
        async with connect(world.port, context=context if mood > 1 else None) as client:
            if mood == 1:
                client.send(b"\x16\x03\x01\x02\x00\x01\x00")  # a handshake that begins
            if mood > 2:
                client.send(request("POST", "/plain", bytes(dice.choice((1, 100_000)))))
            if mood > 3:
                await client.reader.read(dice.choice((1, 10_000)))
            await asyncio.sleep(dice.random() / 50)
            if dice.random() < 0.5:
                client.reset()

    world.human.handler = moody
    await speak_tls(world.human, authority.upstream())
    world.human_extra = {"tls": authority.trusts()}
    listen(world, authority.listen())
    for start in range(0, 120, 20):
        results = await asyncio.gather(*(leaves(start + number) for number in range(20)), return_exceptions=True)
        assert all(result is None or isinstance(result, ssl.SSLError | ConnectionError) for result in results), results
    shared, human = world.worker.shared, world.worker.shared.table.upstreams["human"]
    await until(lambda: not world.worker.clients, 10)
    await until(lambda: (shared.admission.open, shared.inflight, len(human.active), human.dialling) == (0, 0, 0, 0))
    world.human.handler = None
    world.human_extra = {"tls": authority.trusts()}  # other files, other connections
    world.use()
    async with secure(world, context) as client:
        assert (await client.ask("GET", "/plain", b"")).status == 200


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_a_tunnel_of_tls_ends_with_either_side(world: World, authority: Authority, first: str) -> None:
    ended = asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await read_message(reader)
        assert asked is not None
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        while (data := await reader.read(65536)) not in (b"", b"bye"):
            writer.write(data)
        ended.set()

    world.human.handler = echo
    await speak_tls(world.human, authority.upstream())
    world.human_extra = {"tls": authority.trusts()}
    listen(world, authority.listen())
    async with secure(world, authority.client()) as client:
        client.send(request("GET", "/plain", b"", connection="upgrade", upgrade="websocket"))
        assert (await client.read(bodiless=True)).status == 101
        data = bytes(range(256)) * 4096
        client.send(data)
        assert await client.reader.readexactly(len(data)) == data
        if first == "client":
            client.writer.close()
        else:
            client.send(b"bye")
            assert await client.closed()
        await ended.wait()
        await until(lambda: not world.worker.shared.tunnels)
        await until(lambda: not world.worker.clients)


async def test_a_client_that_ended_its_side_before_the_switch_ends_a_tunnel_of_tls(
    world: World, authority: Authority
) -> None:
    """TLS knows no half of an end."""
    ended, release = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        world.human.note(await read_message(reader) or Message("", []))
        await release.wait()
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert await reader.read() == b""
        ended.set()

    world.human.handler = handler
    await speak_tls(world.human, authority.upstream())
    world.human_extra = {"tls": authority.trusts()}
    world.use()
    async with world.client() as client:
        client.send(request("GET", "/plain", b"", connection="upgrade", upgrade="websocket"))
        client.writer.write_eof()
        await world.human.wait_for(1)
        [downstream] = world.worker.clients
        await until(lambda: downstream._half_closed)
        release.set()
        await until(ended.is_set)
        await until(lambda: not world.worker.shared.tunnels and not world.worker.clients)
