"""What a client or an upstream can make the gateway hold has its bound; what is past it waits or is refused."""

import asyncio
import socket
from dataclasses import replace

import pytest

from proxy.model.snapshot import LimitsSpec
from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.peers import Message, answer, connect, request

CHUNKED = b"POST /plain HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4268\r\n%b\r\n0\r\n\r\n" % (
    b"x" * 0x4268
)

BIG = 64 << 20
ROOM = 8 << 20
"""What sockets and buffers on the way may hold, far below BIG."""
LONG = 200_000


async def gives_big(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers /plain/big with BIG bytes, all else with LONG ones."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        size = BIG if b"/big" in head else LONG
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for start in range(0, size, 1 << 18):
            writer.write(bytes(min(1 << 18, size - start)))
            await writer.drain()


def held(world: World) -> int:
    """Bytes of answers that wait in the gateway."""
    return sum(client.transport.get_write_buffer_size() for client in world.worker.clients)


async def still(world: World) -> None:
    """Wait until what is held has not changed for a while."""
    last, same = -1, 0

    def unmoved() -> bool:
        nonlocal last, same
        now = held(world)
        same = same + 1 if now == last else 0
        last = now
        return same > 40

    await until(unmoved, 20)


async def test_a_client_that_takes_no_answer_gets_no_further_one_begun(world: World) -> None:
    """The first answer is whole, but waits; the second one must not pile up behind it."""
    world.human.handler = gives_big
    async with connect(world.port, limit=4096) as client:
        wanted = b"".join(request("GET", f"/plain/{n}", b"") for n in range(40)) + request("GET", "/plain/big", b"")
        client.send(wanted)
        await still(world)
        assert held(world) < ROOM
        for _ in range(40):
            assert len((await client.read()).body) == LONG
        assert len((await client.read()).body) == BIG


async def test_requests_that_come_one_by_one_do_not_pile_up_answers_either(world: World) -> None:
    world.human.handler = gives_big
    async with connect(world.port, limit=4096) as client:
        for number in range(100):
            client.send(request("GET", f"/plain/{number}", b""))
            await asyncio.sleep(0.002)
        await still(world)
        assert held(world) < 1 << 20
        for _ in range(100):
            assert len((await client.read()).body) == LONG


async def test_an_answer_waits_also_where_the_client_was_full_before_its_connection_came(world: World) -> None:
    """The end of one answer fills the client in the turn in which its next request comes, for which we have to dial."""
    world.human.handler = gives_big
    async with connect(world.port, limit=4096) as client:
        asked = request("GET", "/plain/big", b"")
        client.send(asked[:10])
        await until(lambda: world.worker.clients)
        [downstream] = world.worker.clients
        await until(lambda: downstream._reader.in_head)
        for _ in range(100):
            downstream.write(bytes(60_000))
        downstream.data_received(asked[10:])
        await until(lambda: world.worker.shared.table.upstreams["human"].active)
        await still(world)
        assert held(world) < ROOM


async def test_answers_of_our_own_are_held_back_as_well(world: World) -> None:
    """They need no upstream, so nothing but the client's reading slows them."""
    world.limits = replace(world.limits, max_requests=0)
    world.use()
    async with connect(world.port, limit=4096) as client:
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
                sent += 1000
                await client.writer.drain()

        flooding = asyncio.ensure_future(flood())  # noqa: TID251  # cancelled below
        last, same = -1, 0

        def full() -> bool:
            nonlocal last, same
            same = same + 1 if sent == last else 0
            last = sent
            return same > 100 or sent > 1_000_000

        await until(full, 30)
        flooding.cancel()
        assert sent < 500_000
        queued = sum(len(client._reader.requests) for client in world.worker.clients)
        assert queued < 20_000
        assert held(world) < 1 << 20


@pytest.mark.parametrize("last", [{}, {"Connection": "close"}], ids=["kept", "closed"])
async def test_a_client_that_never_reads_its_last_answer_is_let_go(world: World, last: dict[str, str]) -> None:
    """Less than the high-water mark waits for it, so nothing was ever held back."""
    world.limits = replace(world.limits, idle_timeout=0.3)
    world.use()
    world.human.answers = lambda _: answer(bytes(50_000))
    loop, asked = asyncio.get_running_loop(), 0
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", world.port))
        while not held(world):
            await loop.sock_sendall(sock, request("GET", "/plain", b""))
            asked += 1
            await world.human.wait_for(asked)
            await until(lambda: not world.worker.shared.inflight)
            await asyncio.sleep(0.005)
        if last:
            await loop.sock_sendall(sock, request("GET", "/plain", b"", **last))
        await until(lambda: not world.worker.clients, 8)


async def test_a_slow_client_that_does_read_is_not_let_go(world: World) -> None:
    world.limits = replace(world.limits, idle_timeout=1.0)
    world.use()
    world.human.answers = lambda _: answer(bytes(8 << 20))
    async with connect(world.port, limit=4096) as client:
        client.send(request("GET", "/plain", b""))
        await client.reader.readuntil(b"\r\n\r\n")
        left = 8 << 20
        while left:
            left -= len(await client.reader.readexactly(min(left, 128 << 10)))
            await asyncio.sleep(0.05)


async def test_long_header_names_are_not_remembered(world: World) -> None:
    for number in range(5):
        assert (await world.ask(**{"X" * 10_000 + str(number): "1"})).status == 200
    assert max(map(len, world.worker.shared.table.request_names.kinds)) < 1000


async def test_a_body_in_tiny_chunks_is_kept_in_larger_pieces(world: World) -> None:
    world.limits = LimitsSpec()
    world.use(weight=100_000)
    go = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"0\r\n\r\n")
        await go.wait()
        writer.write(answer(b"", 500))

    world.agent.handler = handler
    async with world.client() as client:
        client.send(b"POST /refunds HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"2\r\nab\r\n" * 20_000 + b"0\r\n\r\n")
        await until(lambda: any(c.active and c.active.request.complete for c in world.worker.clients))
        [kept] = [client.active.request for client in world.worker.clients if client.active]
        assert len(kept.chunks) < 1000
        go.set()
        assert (await client.read()).status == 200
    assert world.human.seen[0].body == b"ab" * 20_000


@pytest.mark.parametrize("first", [b"", request("POST", "/plain", b"x" * 17_000), CHUNKED])
async def test_pipelined_requests_wait_as_the_bytes_that_they_are(world: World, first: bytes) -> None:
    """A request that is made takes twenty times the memory of its bytes: a read of thousands makes some of them,
    whatever stands before them."""
    go_on = asyncio.Event()

    async def answers(_: Message) -> bytes:
        await go_on.wait()
        return answer(b"")

    world.human.answers = answers
    count = 6000
    async with world.client() as client:
        client.send(first + b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n" * count)
        await until(lambda: world.worker.shared.inflight == 1)
        [downstream] = world.worker.clients
        await until(lambda: not downstream.transport.is_reading())
        assert len(downstream._reader.requests) < 1000
        go_on.set()
        for _ in range(count + bool(first)):
            assert (await client.read()).status == 200
