"""Connections that end at a bad moment, and ends that are not what they seem."""

import asyncio
import socket
from dataclasses import replace

from proxy.gateway.exchange import Exchange
from proxy.gateway.reply import Client
from proxy.gateway.request import Request
from proxy.gateway.turn import Turn, Writer
from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.peers import Message, answer, read_message, request


async def test_a_write_to_a_connection_that_is_gone_takes_no_other_along(world: World) -> None:
    """One that closes in a turn may be written to in the same turn, before anybody knows."""
    loop, turn = asyncio.get_running_loop(), Turn()
    ends: list[socket.socket] = []
    writers: list[Writer] = []
    for _ in range(2):
        here, there = socket.socketpair()
        there.setblocking(False)
        writer = Writer(turn)
        writer.transport, _protocol = await loop.create_connection(asyncio.Protocol, sock=here)
        writers.append(writer)
        ends.append(there)
    gone, other = writers
    gone.transport.abort()
    gone.write(b"into the void")
    other.write(b"heard")
    async with asyncio.timeout(5):
        assert await loop.sock_recv(ends[1], 100) == b"heard"
    other.transport.close()
    for end in ends:
        end.close()


async def test_a_dead_legacy_is_told_of_however_often_it_was_dialled(world: World) -> None:
    await world.human.stop()
    human = world.worker.shared.table.upstreams["human"]
    human._failures = 5000
    assert (await world.ask()).status == 502


async def test_an_answer_that_comes_after_the_bodys_timeout_is_the_last_word(world: World) -> None:
    """The time for a body ends with the body: what the upstream takes is its own."""
    world.limits = replace(world.limits, body_timeout=0.3)
    world.use()

    async def slow(seen: Message) -> bytes:
        await asyncio.sleep(1.6 if len(world.human.seen) == 1 else 0)
        return answer(b"took it")

    world.human.answers = slow
    async with world.client() as client:
        client.send(b"POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        await asyncio.sleep(0.05)
        client.send(b"x" * 100_000)
        assert (await client.read()).body == b"took it"
        assert (await client.ask()).body == b"took it"
    assert world.counts("refused_total") == {}


async def test_drain_lets_a_slow_client_have_its_answer(world: World) -> None:
    body = bytes(range(256)) * (48 << 10)
    world.human.answers = lambda _: answer(body)
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", world.port))
        await until(lambda: len(world.worker.clients) == 1)
        [client] = world.worker.clients
        client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.transport.set_write_buffer_limits(high=2 * len(body))  # the upstream is done before the client reads
        await loop.sock_sendall(sock, request("GET", "/plain", b"", Connection="close"))
        await world.human.wait_for(1)
        await until(lambda: not world.worker.shared.inflight)
        left = client.transport.get_write_buffer_size()
        assert left > len(body) // 2, "nothing waits: the test tests nothing"
        draining = asyncio.ensure_future(world.worker.drain(10.0))  # noqa: TID251  # awaited below
        got = b""
        while more := await loop.sock_recv(sock, 65536):
            got += more
        assert got.partition(b"\r\n\r\n")[2] == body
        await draining


async def test_an_early_answer_does_not_leak_an_upstream_that_reads_no_more(world: World) -> None:
    gone = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2)
        writer.write(answer(b"enough", 413))
        try:
            while True:
                await asyncio.sleep(0.02)
                writer.write(b"x")
                await writer.drain()
        except ConnectionError:
            gone.set()

    world.human.handler = handler
    async with world.client() as client:
        client.send(b"POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
        client.send(bytes(20_000_000))
        assert (await client.read()).status == 413
        async with asyncio.timeout(5):
            await gone.wait()


async def test_an_answer_to_a_body_that_waits_for_the_upstream_leaves_the_client_free(world: World) -> None:
    """All of the body has come, the upstream has not taken it and answers. It may never take the rest, so that nothing
    more can be asked of its connection."""
    answered = asyncio.Event()

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        world.human.note(Message("", []))
        await answered.wait()
        writer.write(answer(b"too large", 413))
        await asyncio.sleep(60)

    world.human.handler = refuses
    async with world.client() as client:
        asked = request("POST", "/plain", bytes(16 << 20))
        client.send(asked[:100_000])
        await world.human.wait_for(1)
        [downstream] = world.worker.clients
        downstream.data_received(asked[100_000:])  # its last piece, larger than usual
        answered.set()
        assert (await client.read()).status == 413
        world.human.handler = None
        assert (await client.ask("GET", "/plain", b"")).status == 200


async def test_the_end_of_an_answer_is_seen_while_the_upload_is_stuck(world: World) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 403 No\r\n\r\nno more of this")
        writer.write_eof()
        await asyncio.sleep(20)

    world.human.handler = handler
    async with world.client() as client:
        client.send(b"POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
        client.send(bytes(20_000_000))
        said = await client.read()
        assert (said.status, said.body) == (403, b"no more of this")


async def test_a_connection_that_was_dialled_in_vain_is_stale_like_any_other(world: World) -> None:
    """Its client left before it was there; it has waited in the pool since, and may close as any other."""
    served = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        message = await read_message(reader)
        served += 1
        if served > 1 and message is not None:
            world.human.note(message)
            writer.write(answer())
            await reader.read()

    world.human.handler = handler
    human = world.worker.shared.table.upstreams["human"]
    shared = world.worker.shared
    wanted = Request(b"GET", b"/plain", b"a", [], [], 0, b"127.0.0.1", b"")
    wanted.finish()
    exchange = Exchange(Client(shared.turn), shared, wanted)
    exchange.start()
    exchange.client_gone()
    await until(lambda: len(human.idle) == 1)
    assert (await world.ask("PUT")).status == 200
