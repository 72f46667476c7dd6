"""Bodies of any size stream both ways, and a slow reader on either side never makes memory grow."""

import asyncio

import pytest

from proxy.model.snapshot import BUCKETS, EscalateSpec, FallbackSpec, RecordSpec
from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.peers import answer

BIG = 64 << 20
ROOM = 4 << 20
"""What sockets and buffers on the way may hold, far below BIG."""


async def test_an_upload_to_a_slow_upstream_holds_the_client(world: World) -> None:
    go, taken = asyncio.Event(), 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        while taken < BIG:
            taken += len(await reader.read(1 << 20))
        writer.write(answer(b"took it all"))

    world.human.handler = handler
    async with world.client() as client:
        sent = 0

        async def upload() -> None:
            nonlocal sent
            client.send(b"POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % BIG)
            while sent < BIG:
                client.send(bytes(1 << 18))
                await client.writer.drain()
                sent += 1 << 18

        uploading = asyncio.ensure_future(upload())  # noqa: TID251  # awaited below
        await stands_still(lambda: sent)
        assert sent < BIG - ROOM, "the gateway took in what the upstream did not"
        assert buffered(world) < ROOM
        go.set()
        async with asyncio.timeout(30):
            await uploading
        assert (await client.read()).body == b"took it all"
    assert taken == BIG


async def test_an_upload_that_falls_back_to_a_slow_legacy_holds_the_client(world: World) -> None:
    """What has come already is more than legacy can take at once."""
    world.use(weight=BUCKETS, fallback=FallbackSpec(max_body=BIG))
    asked = asyncio.Event()

    async def fails(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4 * ROOM)
        writer.transport.abort()

    async def takes_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await asyncio.sleep(60)

    world.agent.handler, world.human.handler = fails, takes_nothing
    async with world.client() as client:
        client.send(b"POST /refunds HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\nContent-Length: %d\r\n\r\n" % BIG)
        client.send(bytes(4 * ROOM))
        async with asyncio.timeout(10):
            await asked.wait()
        [downstream] = world.worker.clients
        assert not downstream.transport.is_reading()


async def test_a_download_to_a_slow_client_holds_the_upstream(world: World) -> None:
    given = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal given
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
        while given < BIG:
            writer.write(bytes(1 << 18))
            await writer.drain()
            given += 1 << 18

    world.human.handler = handler
    async with world.client() as client:
        client.send(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.reader.readuntil(b"\r\n\r\n")
        await stands_still(lambda: given)
        assert given < BIG - 3 * ROOM, "the gateway took in what the client did not"
        async with asyncio.timeout(30):
            assert len(await client.reader.readexactly(BIG)) == BIG


async def test_chunks_pass_as_they_come(world: World) -> None:
    go = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await go.wait()
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")

    world.human.handler = handler
    async with world.client() as client:
        client.send(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.reader.readuntil(b"\r\n\r\n")
        assert await client.reader.readexactly(10) == b"5\r\nfirst\r\n"
        go.set()
        assert await client.reader.readexactly(14) == b"4\r\nlast\r\n0\r\n\r\n"


@pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson; charset=utf-8"])
async def test_events_pass_as_they_come_also_where_an_answer_may_be_judged_by_its_confidence(
    world: World, kind: str
) -> None:
    confidence = EscalateSpec(confidence_path="$.confidence", confidence_below=0.6)
    world.use(weight=BUCKETS, escalate=confidence, record=RecordSpec(headers=()))
    go = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % kind.encode())
        writer.write(b"9\r\ndata: 1\n\n\r\n")
        await go.wait()
        writer.write(b"0\r\n\r\n")

    world.agent.handler = handler
    async with world.client() as client:
        client.send(b"GET /refunds HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\n\r\n")
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"x-crossfade-arm: agent" in head
        assert b"Content-Type: %b\r\n" % kind.encode() in head
        assert await client.reader.readexactly(14) == b"9\r\ndata: 1\n\n\r\n"
        go.set()
        assert await client.reader.readexactly(5) == b"0\r\n\r\n"


async def test_a_chunked_upload_passes_as_it_comes(world: World) -> None:
    first = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(8) == b"3\r\nabc\r\n"
        first.set()
        assert await reader.readexactly(13) == b"3\r\ndef\r\n0\r\n\r\n"
        writer.write(answer(b"whole"))

    world.human.handler = handler
    async with world.client() as client:
        client.send(b"POST /plain HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        async with asyncio.timeout(5):
            await first.wait()
        client.send(b"3\r\ndef\r\n0\r\n\r\n")
        assert (await client.read()).body == b"whole"


async def test_large_bodies_arrive_as_they_were(world: World) -> None:
    body = bytes(range(256)) * 20_000
    world.human.answers = lambda seen: answer(seen.body)
    async with world.client() as client:
        for _ in range(2):
            assert (await client.ask(target="/plain", body=body)).body == body


async def stands_still(value: object) -> None:
    """Wait until a count has not moved for a while: everything that can be filled is full."""
    last, same = -1, 0

    def still() -> bool:
        nonlocal last, same
        now = value()  # type: ignore[operator]
        same = same + 1 if now == last else 0
        last = now
        return same > 40

    await until(still, 20)


def buffered(world: World) -> int:
    """Bytes that the gateway itself holds for its peers."""
    upstreams = world.worker.shared.table.upstreams.values()
    transports = [connection.transport for upstream in upstreams for connection in upstream.active]
    transports += [client.transport for client in world.worker.clients]
    return sum(transport.get_write_buffer_size() for transport in transports)
