"""What is refused, with which status; and that nothing of it reaches an upstream."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from tests.integration.gateway.conftest import World
from tests.integration.gateway.peers import answer, request

_START = b"POST /refunds HTTP/1.1\r\nHost: a\r\n"

REFUSED = {
    "both lengths": (_START + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (_START + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "the same length twice": (_START + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "a list of lengths": (_START + b"Content-Length: 3, 4\r\n\r\nabcd", 400),
    "a signed length": (_START + b"Content-Length: +3\r\n\r\nabc", 400),
    "a length past 2^63": (_START + b"Content-Length: 99999999999999999999\r\n\r\nabc", 400),
    "bare LF": (b"POST /refunds HTTP/1.1\nHost: a\n\n", 400),
    "a bare LF after a header": (b"POST /refunds HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    "a bare CR": (b"POST /refunds HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
    "a folded line": (_START + b"X: a\r\n b\r\n\r\n", 400),
    "space before the colon": (_START + b"X : a\r\n\r\n", 400),
    "an unknown coding": (_START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "chunked twice": (_START + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "a coding in HTTP/1.0": (b"POST /refunds HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a chunk size in hex notation": (_START + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
    "no host": (b"GET /refunds HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /refunds HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "an empty host": (b"GET /refunds HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "userinfo in the host": (b"GET /refunds HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    "another host in the target": (b"GET http://b/refunds HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a target that is no path": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space in the target": (b"GET /refunds /x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "NUL in a value": (_START + b"X: a\x00b\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /refunds\r\n\r\n", 400),
    "HTTP/2.0": (b"GET /refunds HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "TRACE": (b"TRACE /refunds HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
    "an unknown expectation": (_START + b"Content-Length: 1\r\nExpect: magic\r\n\r\na", 417),
    "a target too long": (b"GET /refunds/" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "headers too large": (_START + b"X: " + b"y" * 60_000 + b"\r\n\r\n", 431),
    "too many headers": (_START + b"".join(b"X-%d: 1\r\n" % n for n in range(150)) + b"\r\n", 431),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
}


@pytest.mark.parametrize(("sent", "status"), REFUSED.values(), ids=REFUSED)
async def test_ambiguous_or_oversized_requests_reach_nobody(world: World, sent: bytes, status: int) -> None:
    async with world.client() as client:
        client.send(sent + request(body=b"smuggled"))
        said = await client.read()
        assert said.status == status
        document = orjson.loads(said.body)
        assert set(document) == {"error", "detail", "request_id"}
        assert document["request_id"] == said["x-request-id"]
        assert said["connection"] == "close"
        assert await client.closed()
    assert (world.human.seen, world.agent.seen) == ([], [])


async def test_what_was_sent_before_a_bad_request_is_answered_first(world: World) -> None:
    async with world.client() as client:
        client.send(request(body=b"good") + REFUSED["a folded line"][0])
        assert (await client.read()).status == 200
        assert (await client.read()).status == 400
        assert await client.closed()
    assert [seen.body for seen in world.human.seen] == [b"good"]


async def test_a_bad_chunk_in_a_body_under_way_ends_its_upstream_request(world: World) -> None:
    ended = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    world.human.handler = handler
    async with world.client() as client:
        client.send(_START + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await asyncio.sleep(0.05)
        client.send(b"zz\r\n")
        assert (await client.read()).status == 400
        async with asyncio.timeout(5):
            await ended.wait()


async def test_no_route_is_404(world: World) -> None:
    said = await world.ask("GET", "/refundsx", b"")
    assert (said.status, orjson.loads(said.body)["error"]) == (404, "no_route")


async def test_options_star_is_about_us(world: World) -> None:
    async with world.client() as client:
        client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read()).status == 204
        assert (await client.ask()).status == 200


async def test_the_absolute_form_is_served_as_its_path(world: World) -> None:
    async with world.client() as client:
        client.send(b"GET http://a/refunds?x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read()).status == 200
    assert world.human.seen[0].target == "/refunds?x"


async def test_a_body_over_the_limit_is_413(world: World) -> None:
    world.limits = replace(world.limits, max_body=1000)
    world.use()
    said = await world.ask(body=b"x" * 1001)
    assert said.status == 413
    async with world.client() as client:
        client.send(_START + b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        client.send(b"1\r\nx\r\n0\r\n\r\n")
        assert (await client.read()).status == 413
    assert all(len(seen.body) <= 1000 for seen in world.human.seen)


async def test_a_slow_head_and_a_slow_body_are_408(world: World) -> None:
    world.limits = replace(world.limits, header_timeout=0.05, body_timeout=0.05)
    world.use()
    for sent in (
        b"POST /refunds HT",
        _START + b"Content-Length: 5\r\n\r\nab",
        _START + b"Content-Length: 99999\r\n\r\nab",
    ):
        async with world.client() as client:
            client.send(sent)
            assert (await client.read()).status == 408
            assert await client.closed()
    assert world.human.seen == []


async def test_an_idle_connection_is_closed_without_a_word(world: World) -> None:
    world.limits = replace(world.limits, idle_timeout=0.05)
    world.use()
    async with world.client() as client:
        assert (await client.ask()).status == 200
        assert await client.closed()


async def test_a_dead_legacy_is_502_and_a_silent_one_504(world: World) -> None:
    world.timeouts = replace(world.timeouts, response=0.1)
    world.use()

    async def never(_: object) -> bytes:
        await asyncio.sleep(60)
        return answer()

    world.human.answers = never
    said = await world.ask()
    assert (said.status, orjson.loads(said.body)["error"]) == (504, "upstream_timeout")
    await world.human.stop()
    said = await world.ask()
    assert (said.status, orjson.loads(said.body)["error"]) == (502, "connect_failure")
