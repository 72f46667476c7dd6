"""TLS towards upstreams: who is believed, what is shown, and what comes of files that cannot be used."""

import asyncio

import pytest
from structlog.testing import capture_logs

from proxy.model.snapshot import UpstreamTls
from tests.certificates import Authority
from tests.integration.gateway.conftest import World
from tests.integration.gateway.peers import Message, answer, connect, read_message, request
from tests.integration.gateway.secured import BIG, old, speak_tls, still

pytestmark = pytest.mark.usefixtures("quiet")


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
