"""TLS towards clients, with an authority of the test's own."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.certificates import Authority
from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.peers import answer, connect, read_message, request
from tests.integration.gateway.secured import BIG, listen, old, secure, speak_tls, still

pytestmark = pytest.mark.usefixtures("quiet")


async def refused(world: World, context: ssl.SSLContext) -> None:
    """The gateway ends the handshake, or with TLS 1.3 the connection right after what the client takes for its end. It
    counts that."""
    before = world.counts("connections_refused_total")[("tls",)]
    said = None
    with suppress(ssl.SSLError, ConnectionError):
        async with connect(world.port, context=context) as client:
            client.send(request("GET", "/plain", b""))
            said = await read_message(client.reader)
    assert said is None
    await until(lambda: world.counts("connections_refused_total")[("tls",)] == before + 1)
    assert world.human.seen == []
    await until(lambda: not world.worker.shared.admission.open)


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


async def test_why_there_is_no_handshake_is_logged_now_and_then(world: World, authority: Authority) -> None:
    theirs = Authority(authority.folder)
    listen(world, authority.listen("required", by=theirs))
    with capture_logs() as logs:
        for _ in range(3):
            await refused(world, authority.client())
    [line] = logs
    problem = "TLS failed: peer did not return a certificate"
    assert line == {
        "event": "no_handshake", "log_level": "info", "client": "127.0.0.1", "problem": problem, "times": 1
    }  # fmt: skip


@pytest.mark.parametrize("says", [b"", b"\x16\x03"])
async def test_of_a_client_that_leaves_before_its_handshake_nothing_is_logged(
    world: World, authority: Authority, says: bytes
) -> None:
    """Load balancers look so whether anybody listens."""
    listen(world, authority.listen())
    with capture_logs() as logs:
        async with connect(world.port) as client:
            client.send(says)
        await until(lambda: world.counts("connections_refused_total")[("tls",)] == 1)
    assert logs == []


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
