"""The PROXY protocol on real sockets: whom it is believed of, what it changes, and what a bad header costs."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from proxy.gateway import listener
from proxy.model.snapshot import ListenTls
from tests.certificates import NAME, Authority
from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.peers import Client, connect, request

TRUSTED = ("127.0.0.0/8",)
LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
BLOCK = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 40000, 443)
BINARY = SIGNATURE + b"\x21\x11" + struct.pack("!H", len(BLOCK) + 4) + BLOCK + b"\x04\x00\x01x"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


@pytest.fixture
async def proxied(world: World) -> World:
    believe(world)
    return world


def believe(world: World, tls: ListenTls | None = None, trusted: tuple[str, ...] = TRUSTED) -> None:
    world.listen = replace(world.listen, proxy_protocol=True, trusted_proxies=trusted, tls=tls)
    world.use()


@asynccontextmanager
async def through(world: World, header: bytes) -> AsyncIterator[Client]:
    async with world.client() as client:
        client.send(header)
        yield client


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (LINE, "192.0.2.7"),
        (BINARY, "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (LOCAL, "127.0.0.1"),
    ],
)
async def test_the_client_is_whom_the_header_names(proxied: World, header: bytes, address: str) -> None:
    async with through(proxied, header) as client:
        for _ in range(2):
            assert (await client.ask("GET", "/plain", b"")).status == 200
    assert [seen["x-forwarded-for"] for seen in proxied.human.seen] == [address, address]


async def test_the_header_may_come_in_any_pieces(proxied: World) -> None:
    for header in (LINE, BINARY):
        async with proxied.client() as client:
            whole = header + request("GET", "/plain", b"")
            for place in range(len(header) + 10):
                client.send(whole[place : place + 1])
                await asyncio.sleep(0.001)  # so that each is a segment of its own; the outcome must not depend on it
            client.send(whole[len(header) + 10 :])
            assert (await client.read()).status == 200
    assert [seen["x-forwarded-for"] for seen in proxied.human.seen] == ["192.0.2.7"] * 2


async def test_the_client_that_is_named_is_not_trusted_for_that(proxied: World) -> None:
    """The proxy is; what the client behind it says of itself is not."""
    async with through(proxied, LINE) as client:
        await client.ask("GET", "/plain", b"", x_forwarded_for="10.9.9.9")
    assert proxied.human.seen[0]["x-forwarded-for"] == "192.0.2.7"


async def test_who_is_not_trusted_is_closed_whatever_it_says(world: World) -> None:
    believe(world, trusted=("10.0.0.0/8",))
    for header in (LINE, LOCAL, b""):
        async with through(world, header + request("GET", "/plain", b"")) as client:
            assert await client.closed()
    await until(lambda: world.counts("connections_refused_total") == {("proxy_header",): 3})
    assert world.human.seen == []


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY TCP4 192.0.2.300 198.51.100.1 1 2\r\n",
        SIGNATURE + b"\x31\x11\x00\x0c" + BLOCK,
        SIGNATURE + b"\x21\x11\xff\xff" + BLOCK,
        SIGNATURE + b"\x21\x11\x00\x04" + BLOCK,
    ],
)
async def test_after_a_bad_header_nothing_is_parsed(proxied: World, header: bytes) -> None:
    async with through(proxied, header + request("GET", "/plain", b"")) as client:
        assert await client.closed()
    await until(lambda: proxied.counts("connections_refused_total") == {("proxy_header",): 1})
    assert proxied.human.seen == []
    assert proxied.worker.clients == set()


async def test_a_header_that_is_never_whole_is_not_waited_for_for_ever(world: World) -> None:
    world.limits = replace(world.limits, header_timeout=0.2)
    believe(world)
    async with through(world, LINE[:20]) as half, world.client() as silent:
        assert await half.closed()
        assert await silent.closed()
    assert world.counts("connections_refused_total") == {("proxy_header",): 2}


async def test_a_half_header_costs_no_cpu_while_the_rest_is_waited_for(
    proxied: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    real = listener.Listener._read_header

    def counted(self: listener.Listener, expected: listener.Expected) -> None:
        nonlocal reads
        reads += 1
        real(self, expected)

    monkeypatch.setattr(listener.Listener, "_read_header", counted)
    async with through(proxied, LINE[:20]) as client:
        await until(lambda: reads >= 1)
        await asyncio.sleep(0.1)  # in which a level-triggered poll of what was left unread would turn round and round
        assert reads <= 3
        client.send(LINE[20:] + request("GET", "/plain", b""))
        assert (await client.read()).status == 200


async def test_only_so_many_headers_are_waited_for(proxied: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_MOST_EXPECTED", 2)
    async with AsyncExitStack() as stack:
        waiting = [await stack.enter_async_context(proxied.client()) for _ in range(5)]
        await until(lambda: proxied.counts("connections_refused_total") == {("limit",): 3})
        for refused in waiting[2:]:
            assert await refused.closed()
        waiting[0].send(LINE + request("GET", "/plain", b""))
        assert (await waiting[0].read()).status == 200


async def test_the_limit_of_an_address_is_of_the_one_that_is_named(world: World) -> None:
    world.limits = replace(world.limits, max_connections_per_address=1)
    believe(world)
    async with through(world, LINE) as first, through(world, LINE) as second, through(world, LOCAL) as third:
        assert (await first.ask("GET", "/plain", b"")).status == 200
        assert (await second.read()).status == 503
        assert (await third.ask("GET", "/plain", b"")).status == 200
    assert world.counts("connections_refused_total") == {("address_limit",): 1}


async def test_the_header_stands_before_the_handshake(world: World, authority: Authority) -> None:
    believe(world, tls=authority.listen())
    loop = asyncio.get_running_loop()
    for header in (LINE, BINARY):
        sock = socket.create_connection(("127.0.0.1", world.port))
        sock.setblocking(False)
        await loop.sock_sendall(sock, header)
        reader, writer = await asyncio.open_connection(sock=sock, ssl=authority.client(), server_hostname=NAME)
        assert (await Client(reader, writer).ask("GET", "/plain", b"")).status == 200
        writer.close()
    told = [(seen["x-forwarded-for"], seen["x-forwarded-proto"]) for seen in world.human.seen]
    assert told == [("192.0.2.7", "https")] * 2
    async with connect(world.port) as client:
        client.send(LINE + request("GET", "/plain", b""))
        assert await client.closed()
    await until(lambda: world.counts("connections_refused_total") == {("tls",): 1})


async def test_it_comes_and_goes_with_the_configuration(world: World) -> None:
    async with world.client() as kept:
        assert (await kept.ask("GET", "/plain", b"")).status == 200
        believe(world)
        async with through(world, LINE) as client:
            assert (await client.ask("GET", "/plain", b"")).status == 200
        world.listen = replace(world.listen, proxy_protocol=False)
        world.use()
        assert (await world.ask("GET", "/plain", b"")).status == 200
        assert (await kept.ask("GET", "/plain", b"")).status == 200
    assert [seen["x-forwarded-for"] for seen in world.human.seen] == [
        "127.0.0.1",
        "192.0.2.7",
        "127.0.0.1",
        "127.0.0.1",
    ]
