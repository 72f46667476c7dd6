"""TLS towards clients and towards upstreams, with an authority of the test's own."""

import asyncio
import random
import ssl
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.model.snapshot import ListenTls, UpstreamTls
from tests.certificates import Authority
from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.peers import Client, Message, ScriptedUpstream, answer, connect, read_message, request

BIG = 3 << 20


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The event loop finds nothing to complain of."""
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def listen(world: World, tls: ListenTls | None) -> None:
    world.listen = replace(world.listen, tls=tls)
    world.use()


async def speak_tls(upstream: ScriptedUpstream, context: ssl.SSLContext) -> None:
    await upstream.stop()
    upstream.context = context
    await upstream.start()


@asynccontextmanager
async def secure(world: World, context: ssl.SSLContext) -> AsyncIterator[Client]:
    async with connect(world.port, context=context) as client:
        yield client


async def refused(world: World, context: ssl.SSLContext) -> None:
    """The gateway ends the handshake, or with TLS 1.3 the connection right after what the client takes for its end. It
    counts that, and logs nothing."""
    before = world.counts("connections_refused_total")[("tls",)]
    said = None
    with capture_logs() as logs, suppress(ssl.SSLError, ConnectionError):
        async with connect(world.port, context=context) as client:
            client.send(request("GET", "/plain", b""))
            said = await read_message(client.reader)
    assert said is None
    await until(lambda: world.counts("connections_refused_total")[("tls",)] == before + 1)
    assert logs == []
    assert world.human.seen == []
    await until(lambda: not world.worker.shared.admission.open)


# --- from clients


async def test_a_request_over_tls_is_served_and_told_as_https(world: World, authority: Authority) -> None:
    listen(world, authority.listen())
    async with secure(world, authority.client()) as client:
        for number in range(3):
            assert (await client.ask("GET", f"/plain/{number}", b"")).status == 200
        assert client.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() is None
    assert [seen.target for seen in world.human.seen] == ["/plain/0", "/plain/1", "/plain/2"]
    assert {seen["x-forwarded-proto"] for seen in world.human.seen} == {"https"}
    assert {seen["x-forwarded-for"] for seen in world.human.seen} == {"127.0.0.1"}
    assert {seen["x-crossfade-client-subject"] for seen in world.human.seen} == {None}


async def test_http_1_1_is_agreed_on_and_h2_is_not(world: World, authority: Authority) -> None:
    listen(world, authority.listen())
    for offered, agreed in ((["h2", "http/1.1"], "http/1.1"), (["h2"], None)):
        context = authority.client()
        context.set_alpn_protocols(offered)
        async with secure(world, context) as client:
            assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == agreed


def old(context: ssl.SSLContext) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def only(context: ssl.SSLContext, cipher: str) -> ssl.SSLContext:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    return context


async def test_tls_1_1_is_refused(world: World, authority: Authority) -> None:
    listen(world, authority.listen())
    await refused(world, old(authority.client()))


async def test_tls_1_2_is_served_unless_1_3_is_the_least(world: World, authority: Authority) -> None:
    tls = authority.listen()
    listen(world, tls)
    context = only(authority.client(), "ECDHE-ECDSA-AES128-GCM-SHA256")
    async with secure(world, context) as client:
        assert (await client.ask("GET", "/plain", b"")).status == 200
    world.human.seen.clear()
    listen(world, replace(tls, min_version="1.3"))
    await refused(world, context)


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-CCM"])
async def test_a_weak_cipher_is_refused(world: World, authority: Authority, cipher: str) -> None:
    listen(world, authority.listen())
    await refused(world, only(authority.client(), cipher))


async def test_plain_http_on_the_tls_port_is_closed(world: World, authority: Authority) -> None:
    listen(world, authority.listen())
    async with world.client() as client:
        client.send(request("GET", "/plain", b""))
        assert await client.closed()
    await until(lambda: world.counts("connections_refused_total") == {("tls",): 1})


async def test_a_handshake_that_does_not_come_is_ended_in_time(world: World, authority: Authority) -> None:
    world.limits = replace(world.limits, header_timeout=0.2)
    listen(world, authority.listen())
    async with world.client() as client:
        assert await client.closed()
    await until(lambda: world.counts("connections_refused_total") == {("tls",): 1})


async def test_a_client_must_show_a_certificate_where_it_is_required(world: World, authority: Authority) -> None:
    ours, theirs = authority, Authority(authority.folder)
    listen(world, ours.listen("required", by=theirs))
    await refused(world, ours.client())
    await refused(world, ours.client(shows=ours.files("someone", common_name="someone")))
    shown = theirs.files("tester", common_name="Tester, the 1st")
    async with secure(world, ours.client(shows=shown)) as client:
        answered = await client.ask("GET", "/plain", b"", x_crossfade_client_subject="CN=root")
    assert answered.status == 200
    [seen] = world.human.seen
    told = [value for name, value in seen.headers if name == "x-crossfade-client-subject"]
    assert len(told) == 1
    assert told[0].startswith("CN=Tester\\, the 1st,OU=Testing cert #")


async def test_a_client_may_show_a_certificate_where_it_is_optional(world: World, authority: Authority) -> None:
    ours, theirs = authority, Authority(authority.folder)
    listen(world, ours.listen("optional", by=theirs))
    await refused(world, ours.client(shows=ours.files("someone", common_name="someone")))
    for context, subject in (
        (ours.client(), None),
        (ours.client(shows=theirs.files("tester", common_name="Tester")), "CN=Tester,"),
    ):
        async with secure(world, context) as client:
            await client.ask("GET", "/plain", b"", x_crossfade_client_subject="CN=root")
        told = world.human.seen[-1]["x-crossfade-client-subject"]
        assert told is None if subject is None else str(told).startswith(subject)


async def test_a_subject_that_a_plain_client_makes_up_is_removed(world: World) -> None:
    await world.ask("GET", "/plain", b"", x_crossfade_client_subject="CN=root")
    assert world.human.seen[0]["x-crossfade-client-subject"] is None


async def test_pipelined_requests_are_answered_in_order_over_tls(world: World, authority: Authority) -> None:
    world.human.answers = lambda asked: answer(asked.target.encode())
    listen(world, authority.listen())
    async with secure(world, authority.client()) as client:
        client.send(b"".join(request("GET", f"/plain/{number}", b"") for number in range(200)))
        for number in range(200):
            assert (await client.read()).body == f"/plain/{number}".encode()


async def test_why_a_request_was_refused_can_be_read_over_tls(world: World, authority: Authority) -> None:
    listen(world, authority.listen())
    async with secure(world, authority.client()) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        await until(lambda: world.counts("refused_total"))
        client.send(bytes(500_000))
        said = await client.read()
        assert said.status == 400
        assert await client.closed()
    await until(lambda: not world.worker.clients)


async def test_a_body_that_is_too_large_is_told_so_while_it_comes(world: World, authority: Authority) -> None:
    world.limits = replace(world.limits, max_body=1000)
    listen(world, authority.listen())
    async with secure(world, authority.client()) as client:
        client.send(b"POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n")
        for _ in range(20):
            client.send(bytes(50_000))
        assert (await client.read()).status == 413


async def test_a_large_answer_waits_for_a_slow_client(world: World, authority: Authority) -> None:
    body = bytes(range(256)) * (BIG >> 8)
    world.human.answers = lambda _: answer(body)
    listen(world, authority.listen())
    async with connect(world.port, limit=4096, context=authority.client()) as client:
        client.send(request("GET", "/plain", b""))
        [served] = await world.human.wait_for(1)
        await still(world)
        [waiting] = world.worker.clients
        assert waiting.transport.get_write_buffer_size() < 1 << 20
        assert (await client.read()).body == body
        assert served.target == "/plain"
        assert (await client.ask("GET", "/plain", b"")).body == body


async def test_a_slow_client_gets_the_last_answer_of_a_connection_whole(world: World, authority: Authority) -> None:
    body = bytes(range(256)) * (BIG >> 8)
    world.human.answers = lambda _: answer(body)
    listen(world, authority.listen())
    async with connect(world.port, limit=4096, context=authority.client()) as client:
        client.send(request("GET", "/plain", b"", connection="close"))
        await still(world)
        assert (await client.read()).body == body
        assert await client.closed()
    await until(lambda: not world.worker.clients)


async def test_a_large_body_waits_for_a_slow_upstream(world: World, authority: Authority) -> None:
    body = bytes(range(256)) * (1 << 16)
    go_on = asyncio.Event()
    got = []

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        asked = await read_message(reader)
        assert asked is not None
        got.append(asked.body)
        writer.write(answer())

    world.human.handler = slow
    await speak_tls(world.human, authority.upstream())
    world.human_extra = {"tls": authority.trusts()}
    listen(world, authority.listen())
    async with secure(world, authority.client()) as client:
        client.send(request("PUT", "/plain", body))
        await until(lambda: any(taken._held for taken in world.worker.clients))
        await still(world)
        [asked] = world.worker.shared.table.upstreams["human"].active
        assert asked.transport.get_write_buffer_size() < 1 << 20
        go_on.set()
        assert (await client.read()).status == 200
    assert got == [body]


async def still(world: World) -> None:
    """Wait until nothing moves any more."""
    last: list[int] = []

    def rests() -> bool:
        now = [client.transport.get_write_buffer_size() for client in world.worker.clients]
        same = last == now
        last[:] = now
        return same

    same = 0
    async with asyncio.timeout(5):
        while same < 20:
            same = same + 1 if rests() else 0
            await asyncio.sleep(0.005)


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


# --- to upstreams


async def failed(world: World) -> Message:
    said = await world.ask("GET", "/plain", b"")
    assert said.status == 502
    assert b"connect_failure" in said.body
    return said


async def test_an_upstream_of_our_own_authority_is_served_and_its_connections_are_kept(
    world: World, authority: Authority
) -> None:
    await speak_tls(world.human, authority.upstream("127.0.0.1"))
    world.human_extra = {"tls": authority.trusts()}
    world.use()
    for _ in range(5):
        assert (await world.ask("GET", "/plain", b"")).status == 200
    assert world.human.connections == 1


async def test_an_upstream_of_an_unknown_authority_is_not_believed(world: World, authority: Authority) -> None:
    await speak_tls(world.human, authority.upstream())
    for tls in (UpstreamTls(), Authority(authority.folder).trusts()):
        world.human_extra = {"tls": tls}
        world.use()
        with capture_logs() as logs:
            said = await failed(world)
        assert b"its certificate is not valid" in said.body
        [line] = logs
        assert (line["event"], line["upstream"]) == ("upstream_does_not_connect", "human")
    assert world.human.seen == []


async def test_an_agent_of_an_unknown_authority_falls_back_to_legacy(world: World, authority: Authority) -> None:
    await speak_tls(world.agent, authority.upstream())
    world.extra = {"tls": UpstreamTls()}
    world.use(weight=100_000)
    said = await world.ask(x_user_id="ann")
    assert said.status == 200
    assert said["x-crossfade-arm"] == "legacy"
    assert world.human.seen[0]["x-crossfade-mode"] == "fallback"
    assert world.counts("fallbacks_total") == {("refunds", "connect_failure"): 1}


async def test_a_certificate_for_another_name_is_not_believed(world: World, authority: Authority) -> None:
    await speak_tls(world.human, authority.upstream("other.example"))
    world.human_extra = {"tls": authority.trusts()}
    world.use()
    assert b"not valid for '127.0.0.1'" in (await failed(world)).body


async def test_the_server_name_is_asked_for_and_checked(world: World, authority: Authority) -> None:
    asked: list[str | None] = []
    context = authority.upstream("human.example")
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    await speak_tls(world.human, context)
    world.human_extra = {"tls": authority.trusts(server_name="human.example")}
    world.use()
    assert (await world.ask("GET", "/plain", b"")).status == 200
    world.human_extra = {"tls": authority.trusts(server_name="another.example")}
    world.use()
    await failed(world)
    assert asked == ["human.example", "another.example"]


async def test_insecure_skip_verify_takes_any_certificate(world: World, authority: Authority) -> None:
    await speak_tls(world.human, authority.upstream("other.example"))
    world.human_extra = {"tls": UpstreamTls(insecure_skip_verify=True)}
    world.use()
    assert (await world.ask("GET", "/plain", b"")).status == 200


async def test_an_upstream_that_asks_for_a_certificate_gets_ours(world: World, authority: Authority) -> None:
    shown: list[str] = []

    async def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subject = dict(part[0] for part in writer.get_extra_info("peercert")["subject"])
        shown.append(subject["commonName"])
        while await read_message(reader) is not None:
            writer.write(answer())

    world.human.handler = look
    await speak_tls(world.human, authority.upstream(asks_by=authority))
    world.human_extra = {"tls": authority.trusts(shows=authority.files("crossfade", common_name="Crossfade"))}
    world.use()
    assert (await world.ask("GET", "/plain", b"")).status == 200
    assert shown == ["Crossfade"]


async def test_without_the_certificate_that_an_upstream_asks_for_it_is_502(world: World, authority: Authority) -> None:
    await speak_tls(world.human, authority.upstream(asks_by=authority))
    world.human_extra = {"tls": authority.trusts()}
    world.use()
    assert (await world.ask("GET", "/plain", b"")).status == 502
    assert world.human.seen == []


async def test_an_upstream_that_speaks_no_tls_or_too_old_a_one_is_502(world: World, authority: Authority) -> None:
    world.human_extra = {"tls": authority.trusts()}
    world.use()
    await failed(world)
    await speak_tls(world.human, old(authority.upstream()))
    await failed(world)


async def test_a_server_name_that_is_none_is_502(world: World, authority: Authority) -> None:
    await speak_tls(world.human, authority.upstream())
    world.human_extra = {"tls": authority.trusts(server_name=".example")}
    world.use()
    await failed(world)


async def test_tls_files_that_cannot_be_used_leave_the_upstream_as_it_was(world: World, authority: Authority) -> None:
    await speak_tls(world.human, authority.upstream())
    world.human_extra = {"tls": authority.trusts()}
    world.use()
    authority.spoil()
    world.human_extra = {"tls": authority.trusts()}  # the digest is another one
    with capture_logs() as logs:
        world.use()
    assert [line["event"] for line in logs] == ["upstream_tls_unusable", "snapshot_in_use"]
    assert "upstreams.human.tls.ca_file" in logs[0]["reason"]
    assert (await world.ask("GET", "/plain", b"")).status == 200


async def test_tls_files_that_never_could_be_used_fail_that_upstream_alone(world: World, authority: Authority) -> None:
    world.extra = {"tls": UpstreamTls(ca_file=str(authority.folder / "none.pem"))}
    world.agent.port += 1  # so that it is not the same upstream
    del world.worker.shared.table.upstreams["agent"]
    world.use(weight=100_000)
    said = await world.ask(x_user_id="ann")
    assert (said.status, said["x-crossfade-arm"]) == (200, "legacy")
    assert world.counts("fallbacks_total") == {("refunds", "connect_failure"): 1}


async def test_an_answer_whose_end_is_the_connections_needs_the_end_of_tls(world: World, authority: Authority) -> None:
    """The socket's end alone can be anybody's doing: RFC 9112, section 9.8."""
    clean = True

    async def until_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        await writer.drain()
        if not clean:
            await asyncio.sleep(0.05)  # the bytes must be out before the socket goes
            writer.transport.abort()

    world.human.handler = until_the_end
    await speak_tls(world.human, authority.upstream())
    world.human_extra = {"tls": authority.trusts()}
    world.use()
    assert (await world.ask("GET", "/plain", b"")).body == b"all of it"
    clean = False
    async with world.client() as client:
        client.send(request("GET", "/plain", b""))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.read()


async def test_what_an_upstream_sent_before_it_ended_is_not_lost_on_a_slow_client(
    world: World, authority: Authority
) -> None:
    body = bytes(range(256)) * (BIG >> 8)

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(answer(body, 200, "Connection: close"))

    world.human.handler = once
    await speak_tls(world.human, authority.upstream())
    world.human_extra = {"tls": authority.trusts()}
    world.use()
    async with connect(world.port, limit=4096) as client:
        client.send(request("GET", "/plain", b""))
        await still(world)
        assert (await client.read()).body == body
