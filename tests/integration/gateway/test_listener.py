"""The listening side: settings that change under connects, limits of connections, the end of accepting."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.gateway import admission
from proxy.gateway.admission import Admission
from proxy.gateway.counters import Counters
from proxy.gateway.listener import Listener
from proxy.gateway.service import Worker
from proxy.model.errors import ConfigError
from proxy.model.snapshot import ListenSpec, ListenTls
from tests.certificates import Authority
from tests.fakes import FakeClock
from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.peers import Client, connect, read_message, request


def listen(world: World, **changes: object) -> None:
    world.listen = replace(world.listen, **changes)  # type: ignore[arg-type]  # a test's shorthand
    world.use()


def shown(client: Client) -> bytes:
    """The digest of the certificate that the gateway showed."""
    return sha256(client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)).digest()


# --- settings that change


async def test_a_certificate_is_renewed_without_a_refused_connection(world: World, authority: Authority) -> None:
    listen(world, tls=authority.listen())
    context = authority.client()
    seen: list[bytes] = []
    ended = False

    async def connects() -> None:
        while not ended:
            async with connect(world.port, context=context) as client:
                assert (await client.ask("GET", "/plain", b"")).status == 200
                seen.append(shown(client))

    async with connect(world.port, context=context) as kept, asyncio.TaskGroup() as tasks:
        assert (await kept.ask("GET", "/plain", b"")).status == 200
        for _ in range(4):
            tasks.create_task(connects())
        for renewals in range(1, 6):
            await until(lambda: len(set(seen)) >= renewals)  # noqa: B023  # waited for within the turn
            listen(world, tls=authority.listen())
        await until(lambda: len(set(seen)) >= 6)
        ended = True
        assert (await kept.ask("GET", "/plain", b"")).status == 200
        assert shown(kept) == seen[0]
    assert world.counts("connections_refused_total") == {}


async def test_tls_comes_and_goes_without_a_refused_connection(world: World, authority: Authority) -> None:
    tls = authority.listen()
    ended = False
    count = 0

    async def connects() -> None:
        nonlocal count
        while not ended:
            async with connect(world.port) as client:
                count += 1
                client.send(request("GET", "/plain", b""))
                with suppress(ConnectionError):  # told in plain text on a port that speaks TLS by then
                    await read_message(client.reader)

    async with world.client() as kept, asyncio.TaskGroup() as tasks:
        assert (await kept.ask("GET", "/plain", b"")).status == 200
        tasks.create_task(connects())
        for turn in range(10):
            before = count
            await until(lambda: count > before + 5)  # noqa: B023  # as above
            listen(world, tls=None if turn % 2 else tls)
        ended = True
        assert (await kept.ask("GET", "/plain", b"")).status == 200
    assert (await world.ask("GET", "/plain", b"")).status == 200


async def test_settings_that_change_twice_in_one_turn_end_in_the_last(world: World, authority: Authority) -> None:
    tls = authority.listen()
    for last in (tls, None):
        for setting in (tls, None, tls, None, last):
            listen(world, tls=setting)
        await asyncio.sleep(0.01)
        async with connect(world.port, context=authority.client() if last else None) as client:
            assert (await client.ask("GET", "/plain", b"")).status == 200


async def test_a_certificate_that_cannot_be_used_leaves_the_former_one(world: World, authority: Authority) -> None:
    tls = authority.listen()
    listen(world, tls=tls)
    with capture_logs() as logs:
        listen(world, tls=replace(tls, key_file="/nowhere/key.pem", digest="another"))
    assert [line["event"] for line in logs] == ["listener_tls_unusable", "snapshot_in_use"]
    assert "listen.tls.key_file" in logs[0]["reason"]
    async with connect(world.port, context=authority.client()) as client:
        assert (await client.ask("GET", "/plain", b"")).status == 200
    renewed = authority.listen()
    listen(world, tls=renewed)
    async with connect(world.port, context=authority.client()) as client:
        assert shown(client) == sha256(first_certificate(renewed)).digest()


def first_certificate(tls: ListenTls) -> bytes:
    pem = Path(tls.cert_file).read_text()
    end = "-----END CERTIFICATE-----\n"
    return ssl.PEM_cert_to_DER_cert(pem.partition(end)[0] + end)


async def test_a_worker_that_begins_with_tls_serves_it_or_says_why_not(world: World, authority: Authority) -> None:
    world.listen = ListenSpec(tls=authority.listen())
    worker = Worker(FakeClock(), world.snapshot())
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        port = sock.getsockname()[1]
        await worker.listen(sock.dup())
        async with connect(port, context=authority.client()) as client:
            assert (await client.ask("GET", "/plain", b"")).status == 200
        await worker.drain(0.0)
        world.listen = ListenSpec(tls=ListenTls("/nowhere/cert.pem", "/nowhere/key.pem"))
        with pytest.raises(ConfigError, match=r"listen\.tls\.cert_file: /nowhere/cert\.pem cannot be read"):
            await Worker(FakeClock(), world.snapshot()).listen(sock)


# --- limits


@pytest.fixture(params=["plain", "tls"])
async def opens(request: pytest.FixtureRequest, world: World, authority: Authority) -> AsyncIterator[AsyncExitStack]:
    """Clients stay open until the test's end."""
    if request.param == "tls":
        listen(world, tls=authority.listen())
    async with AsyncExitStack() as stack:
        yield stack


async def another(world: World, stack: AsyncExitStack, authority: Authority) -> Client:
    context = authority.client() if world.listen.tls else None
    return await stack.enter_async_context(connect(world.port, context=context))


async def test_past_max_connections_a_client_is_told_503(
    world: World, authority: Authority, opens: AsyncExitStack
) -> None:
    world.limits = replace(world.limits, max_connections=3)
    world.use()
    held = [await another(world, opens, authority) for _ in range(3)]
    for client in held:
        assert (await client.ask("GET", "/plain", b"")).status == 200
    refused = await another(world, opens, authority)
    refused.send(request("POST", "/plain", bytes(100_000)))
    said = await refused.read()
    assert (said.status, said["retry-after"], said["connection"]) == (503, "1", "close")
    assert b"too_many_connections" in said.body
    assert await refused.closed()
    assert world.counts("connections_refused_total") == {("limit",): 1}
    assert len(world.human.seen) == 3
    assert (await held[0].ask("GET", "/plain", b"")).status == 200
    held[0].writer.close()
    await until(lambda: world.worker.shared.admission.open == 2)
    assert (await (await another(world, opens, authority)).ask("GET", "/plain", b"")).status == 200


async def test_past_the_limit_of_its_address_a_client_is_told_503(
    world: World, authority: Authority, opens: AsyncExitStack
) -> None:
    world.limits = replace(world.limits, max_connections_per_address=2)
    world.use()
    for _ in range(2):
        assert (await (await another(world, opens, authority)).ask("GET", "/plain", b"")).status == 200
    assert (await (await another(world, opens, authority)).read()).status == 503
    assert world.counts("connections_refused_total") == {("address_limit",): 1}


async def test_trusted_proxies_have_no_limit_of_their_address(
    world: World, authority: Authority, opens: AsyncExitStack
) -> None:
    world.limits = replace(world.limits, max_connections_per_address=2)
    listen(world, trusted_proxies=("127.0.0.0/8",))
    for _ in range(5):
        assert (await (await another(world, opens, authority)).ask("GET", "/plain", b"")).status == 200


async def test_only_so_many_are_told_the_others_are_closed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_MOST_TOLD", 2)
    world.limits = replace(world.limits, max_connections=1)
    world.use()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(world.port)) for _ in range(6)]
        assert (await clients[0].ask("GET", "/plain", b"")).status == 200
        told = [await client.reader.read() for client in clients[1:] if await is_open(client)]
        assert len(told) == 2
        assert world.counts("connections_refused_total") == {("limit",): 5}
        assert world.worker.shared.admission.told == 2
    await until(lambda: not world.worker.shared.admission.told)
    await until(lambda: not world.worker.shared.admission.open)


async def is_open(client: Client) -> bool:
    """Whether the gateway says anything; not where it resets."""
    try:
        return await client.reader.read(1) != b""
    except ConnectionError:
        return False


def silent(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A client that has read the first bytes, and then neither reads nor ends anything."""
    sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="gateway.example")
    assert sock.recv(8) == b"HTTP/1.1"
    return sock


async def test_one_that_is_told_and_does_not_go_is_let_go(world: World, authority: Authority) -> None:
    world.limits = replace(world.limits, max_connections=1)
    listen(world, tls=authority.listen())
    async with connect(world.port, context=authority.client()) as first:
        await first.ask("GET", "/plain", b"")
        refused = await asyncio.to_thread(silent, world.port, authority.client())
        assert world.worker.shared.admission.told == 1
        await until(lambda: not world.worker.shared.admission.told, 15)
        refused.close()


async def test_a_crowd_of_handshakes_that_never_come_counts_as_connections(world: World, authority: Authority) -> None:
    world.limits = replace(world.limits, max_connections=3, header_timeout=0.5)
    listen(world, tls=authority.listen())
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(connect(world.port))
        await until(lambda: world.worker.shared.admission.open == 3)
        async with connect(world.port, context=authority.client()) as refused:
            assert (await refused.read()).status == 503
        await until(lambda: not world.worker.shared.admission.open)
        async with connect(world.port, context=authority.client()) as client:
            assert (await client.ask("GET", "/plain", b"")).status == 200
    assert world.counts("connections_refused_total") == {("limit",): 1, ("tls",): 3}


def test_admission_forgets_addresses_that_are_gone(world: World) -> None:
    counted = Admission(Counters())
    table = world.worker.shared.table
    for number in range(1000):
        address = b"10.0.%d.%d" % divmod(number, 250)
        counted.leave(address, counted.admit(address, table))
    assert (counted.open, counted.told, counted._addresses) == (0, 0, {})


# --- the end of accepting


@pytest.mark.parametrize("secure", [False, True])
async def test_what_waits_in_the_queue_at_the_end_is_served(world: World, authority: Authority, secure: bool) -> None:
    if secure:
        listen(world, tls=authority.listen())
    context = authority.client() if secure else None

    async def asks() -> int:
        async with connect(world.port, context=context) as client:
            return (await client.ask("GET", "/plain", b"")).status

    with socket.socket() as waits:
        # Connected before the loop has had a turn to accept it: it stands in the kernel's queue.
        waits.setblocking(False)
        with suppress(BlockingIOError):
            waits.connect(("127.0.0.1", world.port))
        if not secure:
            waits.send(request("GET", "/plain", b""))
        draining = asyncio.ensure_future(world.worker.drain(5.0))  # noqa: TID251  # awaited below
        if not secure:
            said = await asyncio.get_running_loop().sock_recv(waits, 65536)
            assert said.startswith(b"HTTP/1.1 200 ")
    await draining
    with pytest.raises(OSError):  # refused or reset
        await asks()


async def test_without_a_descriptor_to_accept_with_it_pauses_and_goes_on(
    world: World, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen(world, tls=authority.listen())
    listener = world.worker._listener
    assert isinstance(listener, Listener)
    real = listener._sock

    class Poor:
        """A listening socket of a process that has no descriptor left, three times."""

        tries = 0

        def accept(self) -> tuple[socket.socket, object]:
            self.tries += 1
            if self.tries <= 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return real.accept()

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    poor = Poor()
    monkeypatch.setattr(listener, "_sock", poor)
    with capture_logs() as logs:
        async with connect(world.port, context=authority.client()) as client:
            assert (await client.ask("GET", "/plain", b"")).status == 200
    assert poor.tries > 3
    assert [line["event"] for line in logs] == ["cannot_accept"]
