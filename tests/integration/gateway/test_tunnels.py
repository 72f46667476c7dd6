"""Upgrades: bytes go through both ways as they come, to the arm that the bucket says, and never to the shadow."""

import asyncio
from dataclasses import replace

import pytest

from proxy.model.snapshot import BUCKETS
from tests.integration.gateway.conftest import RECORD_ALL, SHADOW_ALL, TIMEOUTS, World, until
from tests.integration.gateway.peers import Client, Message, answer, read_message, request

ASK = (
    b"GET /refunds/live HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: WebSocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzhZRbK+xOo0=\r\n\r\n"
)


class Echo:
    """An upstream that switches, then sends back what it gets, until the other side ends; then says `bye`."""

    def __init__(self, first: bytes = b"") -> None:
        self.first = first
        self.heads: list[bytes] = []
        self.ended = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(SWITCH + self.first)
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        self.ended += 1
        writer.write(b"bye")


async def switched(client: Client, ask: bytes = ASK) -> bytes:
    """The head of the 101."""
    client.send(ask)
    return await client.reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize(("weight", "arm"), [(0, "legacy"), (BUCKETS, "agent")])
async def test_it_goes_to_the_arm_that_the_bucket_says_and_never_to_the_shadow(
    world: World, weight: int, arm: str
) -> None:
    world.use(weight=weight, shadow=SHADOW_ALL, record=RECORD_ALL)
    echo = Echo()
    served = world.agent if arm == "agent" else world.human
    served.handler = echo
    async with world.client() as client:
        head = (await switched(client)).lower()
        assert head.startswith(b"http/1.1 101 ")
        assert b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n" in head
        assert b"\r\nsec-websocket-accept: s3pplmbitxaq9kygzhzrbk+xoo0=\r\n" in head
        assert b"\r\nx-crossfade-arm: " + arm.encode() in head
        for data in (b"hello", b"\x81\x85\x00\x00", b"GET / HTTP/1.1\r\n\r\n"):
            client.send(data)
            assert await client.reader.readexactly(len(data)) == data
        world.worker.report()
        assert world.told.gauges["tunnels"] == {("refunds", arm): 1}
        client.writer.write_eof()
        assert await client.reader.read() == b"bye"
    head = echo.heads[0].lower()
    assert b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n" in head
    assert head.count(b"\r\nupgrade:") == 1
    assert b"\r\nsec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n" in head
    assert world.fates() == {"upgraded": 1}
    mode = "canary" if arm == "agent" else "legacy"
    assert world.counts("requests_total") == {("refunds", arm, mode, "101"): 1}
    [record] = await world.records(1)
    told = record.agent if arm == "agent" else record.legacy
    assert (record.fate, told is not None and told.status) == ("upgraded", 101)
    await until(lambda: not world.worker.shared.tunnels)
    assert world.worker.shared.inflight == 0
    other = world.human if arm == "agent" else world.agent
    assert other.connections == 0


async def test_bytes_that_came_too_early_pass_intact_both_ways(world: World) -> None:
    world.human.handler = Echo(b"first words")
    async with world.client() as client:
        await switched(client, ASK + b"\x00early\xff GET / HTTP/1.1\r\nHost: evil\r\n\r\n")
        assert await client.reader.readexactly(11) == b"first words"
        expected = b"\x00early\xff GET / HTTP/1.1\r\nHost: evil\r\n\r\n"
        assert await client.reader.readexactly(len(expected)) == expected


async def test_a_request_before_it_is_answered_and_what_came_behind_it_stays_its_own(world: World) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (asked := await read_message(reader)) is not None:
            if asked["upgrade"] is None:
                writer.write(answer(b"first"))
                continue
            writer.write(SWITCH)
            while data := await reader.read(1 << 16):
                writer.write(data)

    world.human.handler = handler
    early = b"\x00early\xff GET / HTTP/1.1\r\nHost: evil\r\n\r\n"
    async with world.client() as client:
        client.send(request("GET", "/plain", b"") + ASK + early)
        assert (await client.read()).body == b"first"
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await client.reader.readexactly(len(early)) == early


async def test_an_answer_other_than_101_is_an_answer_and_http_goes_on(world: World) -> None:
    world.human.answers = lambda seen: answer(seen.target.encode(), 426 if "live" in seen.target else 200)
    async with world.client() as client:
        client.send(ASK + request("GET", "/plain/next", b""))
        assert (await client.read()).status == 426
        assert (await client.read()).body == b"/plain/next"
    assert world.fates() == {"upgraded": 1}


async def test_what_follows_a_refused_offer_is_judged_like_any_request(world: World) -> None:
    world.human.answers = lambda _: answer(b"", 400)
    async with world.client() as client:
        client.send(ASK + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await client.read()).status == 400
        assert b'"error":"bad_request"' in (await client.read()).body
    assert len(world.human.seen) == 1


async def test_an_agent_that_cannot_switch_leaves_it_to_legacy(world: World) -> None:
    world.use(weight=BUCKETS)
    await world.agent.stop()
    world.human.handler = echo = Echo()
    async with world.client() as client:
        assert b"x-crossfade-arm: legacy" in await switched(client)
    assert b"x-crossfade-mode: fallback" in echo.heads[0]
    assert world.counts("fallbacks_total") == {("refunds", "connect_failure"): 1}


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_switch_to_something_else_is_502(world: World, said: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await reader.read()

    world.human.handler = handler
    async with world.client() as client:
        client.send(ASK)
        assert (await client.read()).status == 502


@pytest.mark.parametrize(
    "lines",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x",
        b"Connection: Upgrade\r\nUpgrade: websocket, h2c",
        b"Connection: close\r\nUpgrade: websocket",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3",
    ],
)
async def test_nothing_else_is_offered_to_an_upstream(world: World, lines: bytes) -> None:
    async with world.client() as client:
        client.send(b"GET /refunds HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\nabc"[: 7 if b"Length" in lines else 4])
        assert (await client.read()).status == 200
    assert (world.human.seen[0]["upgrade"], world.human.seen[0]["http2-settings"]) == (None, None)


async def test_a_route_can_do_without(world: World) -> None:
    snapshot = world.snapshot()
    routes = tuple(replace(route, upgrades=frozenset()) for route in snapshot.routes)
    world.worker.use(replace(snapshot, routes=routes))
    async with world.client() as client:
        client.send(ASK + request("GET", "/plain", b""))
        assert [(await client.read()).status, (await client.read()).status] == [200, 200]
    assert world.human.seen[0]["upgrade"] is None


async def test_silence_ends_it(world: World) -> None:
    world.timeouts = replace(TIMEOUTS, tunnel=0.1)
    world.use()
    world.human.handler = Echo()
    async with world.client() as client:
        await switched(client)
        assert await client.reader.read() == b""
    await until(lambda: not world.worker.shared.tunnels)


async def test_neither_side_is_read_faster_than_the_other_takes(world: World) -> None:
    release = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH)
        await release.wait()
        total = 0
        while total < 30 << 20:
            total += len(await reader.read(1 << 20))
        writer.write(b"%d" % total)

    world.human.handler = handler
    async with world.client() as client:
        await switched(client)
        [downstream] = world.worker.clients
        client.send(b"x" * (30 << 20))
        await until(lambda: not downstream.transport.is_reading())
        release.set()
        assert await client.reader.readexactly(8) == b"%d" % (30 << 20)


async def test_what_came_too_early_can_fill_the_upstream_too(world: World) -> None:
    """The client is held until the upstream has taken it, as later on."""
    release = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        world.human.note(Message("", []))
        await release.wait()
        writer.write(SWITCH)
        await asyncio.sleep(60)

    world.human.handler = handler
    async with world.client() as client:
        client.send(ASK[:20])
        await until(lambda: world.worker.clients)
        [downstream] = world.worker.clients
        await until(lambda: downstream._reader.in_head)
        downstream.data_received(ASK[20:] + b"x" * (16 << 20))
        await world.human.wait_for(1)
        release.set()
        await client.reader.readuntil(b"\r\n\r\n")
        assert not downstream.transport.is_reading()


async def test_either_side_takes_the_other_with_it(world: World) -> None:
    world.human.handler = echo = Echo()
    async with world.client() as client:
        await switched(client)
        client.reset()
    await until(lambda: echo.ended == 1 and not world.worker.shared.tunnels and not world.worker.clients)

    async def leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH + b"so long")

    world.human.handler = leaves
    async with world.client() as client:
        await switched(client)
        assert await client.reader.read() == b"so long"
        client.writer.write_eof()
    await until(lambda: not world.worker.shared.tunnels and not world.worker.clients)


async def test_tunnels_get_the_patience_of_a_drain_then_go(world: World) -> None:
    world.human.handler = Echo()
    async with world.client() as client:
        await switched(client)
        draining = asyncio.get_running_loop().create_task(world.worker.drain(0.3))
        client.send(b"still here")
        assert await client.reader.readexactly(10) == b"still here"
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.reader.readexactly(1)
        await draining


async def test_a_tunnel_takes_no_place_of_requests_in_flight(world: World) -> None:
    world.human_extra = {"max_inflight": 1, "max_queue": 0}
    world.use()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (message := await read_message(reader)) is not None:
            writer.write(SWITCH if message["upgrade"] else answer())

    world.human.handler = handler
    async with world.client() as client:
        await switched(client)
        assert (await world.ask()).status == 200
