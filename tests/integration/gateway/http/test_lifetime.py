"""HTTP.md, rules 37 to 42: who may speak when, and how a connection ends."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.http.cases import HEAD, Listener
from tests.integration.gateway.peers import answer, read_message, request

# --- 37: a final answer before the request has ended


@pytest.mark.parametrize("chunked", [False, True], ids=["37-length", "37-chunked"])
async def test_an_answer_before_the_requests_end_is_passed_on_at_once(world: World, chunked: bool) -> None:
    ended = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"no more, please", 413))
        try:
            await reader.read()
        finally:
            ended.set()

    world.human.handler = handler
    framing = (
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        if chunked
        else b"Content-Length: 1000000\r\n\r\n" + b"x" * 100_000
    )
    async with world.client() as client:
        client.send(HEAD + framing)
        said = await client.read()
        assert (said.status, said["connection"]) == (413, "close")
        client.send(b"x" * 100_000)  # what still comes is read and let go: a reset would take the answer away
        assert await client.reader.read() == b""
    async with asyncio.timeout(5):
        await ended.wait()
    assert not world.worker.shared.table.upstreams["human"].idle


# --- 38: `../test_retries.py` has what may be asked again. Here: what must not be.


async def test_38_a_fresh_connection_that_closes_is_not_tried_again(world: World) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = await read_message(reader)
        assert message is not None
        world.human.note(message)

    world.human.handler = handler
    said = await world.ask()
    assert (said.status, len(world.human.seen)) == (502, 1)
    assert b'"error":"upstream_reset"' in said.body


# --- 39: nobody there, or nobody who answers


async def test_39_a_dead_upstream_is_502_and_a_silent_one_504(world: World) -> None:
    world.timeouts = replace(world.timeouts, response=0.1)
    world.use()
    world.human.handler = Listener()
    said = await world.ask()
    assert (said.status, orjson.loads(said.body)["error"]) == (504, "upstream_timeout")
    await world.human.stop()
    said = await world.ask()
    assert (said.status, orjson.loads(said.body)["error"]) == (502, "connect_failure")


async def test_39_an_upstream_that_falls_silent_in_its_answer_is_cut_off(world: World) -> None:
    world.timeouts = replace(world.timeouts, idle=0.1)
    world.use()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await reader.read()

    world.human.handler = handler
    async with world.client() as client:
        client.send(request("GET", "/plain", b""))
        await client.reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(5):
            assert await client.reader.read() == b"abc"


# --- 40: clients that leave


async def test_40_a_client_that_goes_away_cancels_its_request(world: World) -> None:
    world.human.handler = listener = Listener()
    async with world.client() as client:
        client.send(request())
        await until(lambda: listener.heard and listener.heard[0].endswith(b"{}"))
        client.reset()
    await until(lambda: listener.ended == 1)
    assert sum(world.counts("client_gone_total").values()) == 1


async def test_40_a_client_that_half_closes_still_gets_its_answer(world: World) -> None:
    async def slow(_: object) -> bytes:
        await asyncio.sleep(0.05)
        return answer(b"late")

    world.human.answers = slow
    async with world.client() as client:
        client.send(request())
        client.writer.write_eof()
        assert (await client.read()).body == b"late"
        assert await client.reader.read() == b""


async def test_40_a_client_that_half_closes_gets_all_its_answers(world: World) -> None:
    world.human.answers = lambda seen: answer(seen.body)
    async with world.client() as client:
        client.send(b"".join(request(body=b"%d" % number) for number in range(5)))
        client.writer.write_eof()
        assert [(await client.read()).body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
        assert await client.reader.read() == b""


@pytest.mark.parametrize(
    "sent", [b"GET /refunds HT", HEAD + b"Content-Length: 5\r\n\r\nab"], ids=["40-in-a-head", "40-in-a-body"]
)
async def test_a_request_that_a_half_close_cuts_short_reaches_nobody(world: World, sent: bytes) -> None:
    async with world.client() as client:
        client.send(sent)
        client.writer.write_eof()
        assert await client.closed()
    assert world.human.connections == 0


# --- 41: time-outs, and order

SLOW = {
    "41-no-first-byte-of-a-second-line": b"POST /refunds HT",
    "41-in-a-header": HEAD + b"X: ",
    "41-before-the-empty-line": HEAD,
    "41-in-a-small-body": HEAD + b"Content-Length: 5\r\n\r\nab",
    "41-in-a-large-body": HEAD + b"Content-Length: 99999\r\n\r\nab",
    "41-in-a-chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "41-in-the-trailer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: ",
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
async def test_a_slow_head_and_a_slow_body_are_408(world: World, sent: bytes) -> None:
    world.limits = replace(world.limits, header_timeout=0.05, body_timeout=0.05)
    world.use()
    world.human.handler = listener = Listener()
    async with world.client() as client:
        client.send(sent)
        said = await client.read()
        assert (said.status, said["connection"]) == (408, "close")
        assert await client.reader.read() == b""
    assert not any(heard.endswith(b"0\r\n\r\n") for heard in listener.heard)


async def test_41_an_idle_connection_is_closed_without_a_word(world: World) -> None:
    world.limits = replace(world.limits, idle_timeout=0.05)
    world.use()
    async with world.client() as client:
        assert (await client.ask()).status == 200
        assert await client.reader.read() == b""


async def test_41_a_connection_that_never_speaks_is_closed_without_a_word(world: World) -> None:
    world.limits = replace(world.limits, header_timeout=0.05)
    world.use()
    async with world.client() as client:
        assert await client.reader.read() == b""


async def test_41_pipelined_requests_are_answered_in_order(world: World) -> None:
    async def slowest_first(seen: object) -> bytes:
        await asyncio.sleep(0.05 if len(world.human.seen) == 1 else 0)
        return answer(world.human.seen[-1].body)

    world.human.answers = slowest_first
    async with world.client() as client:
        client.send(b"".join(request(body=b"%d" % number) for number in range(20)))
        assert [(await client.read()).body for _ in range(20)] == [b"%d" % number for number in range(20)]
    assert len(world.human.seen) == 20


# --- 42: HTTP/1.0, Connection: close, interim answers

CHUNKED_ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


@pytest.mark.parametrize("ask", [b"", b"Connection: keep-alive\r\n"], ids=["42-1.0", "42-1.0-kept-alive"])
async def test_http_1_0_gets_no_chunks_and_is_closed(world: World, ask: bytes) -> None:
    world.human.answers = lambda _: CHUNKED_ANSWER
    async with world.client() as client:
        client.send(b"GET /refunds HTTP/1.0\r\nHost: a\r\n" + ask + b"\r\n")
        said = await client.read()
        assert (said.body, said["transfer-encoding"], said["connection"]) == (b"abc", None, "close")


async def test_42_http_1_0_is_closed_unless_it_asks(world: World) -> None:
    async with world.client() as client:
        client.send(b"GET /refunds HTTP/1.0\r\nHost: a\r\n\r\n")
        assert (await client.read())["connection"] == "close"
        assert await client.reader.read() == b""
    async with world.client() as client:
        for _ in range(2):
            client.send(b"GET /refunds HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            assert (await client.read())["connection"] == "keep-alive"


CLOSES = {
    "42-close": b"Connection: close",
    "42-close-another-case": b"Connection: Close",
    "42-close-in-a-list": b"Connection: X-Hop, close",
    "42-close-and-keep-alive": b"Connection: keep-alive, close",
    "42-close-in-a-second-line": b"Connection: X-Hop\r\nConnection: close",
    "42-close-white-space": b"Connection:\tclose \t",
}


@pytest.mark.parametrize("line", CLOSES.values(), ids=CLOSES)
async def test_connection_close_of_a_client_is_honoured(world: World, line: bytes) -> None:
    """And what comes behind is not served: it is read and let go, so that no reset takes the answer away."""
    async with world.client() as client:
        client.send(HEAD + line + b"\r\n\r\n" + request(body=b"behind") * 2000)
        said = await client.read()
        assert (said.status, said["connection"]) == (200, "close")
        assert await client.reader.read() == b""
    assert [seen.body for seen in world.human.seen] == [b""]


@pytest.mark.parametrize("line", [line for line in CLOSES.values() if b"\r\n" not in line])
async def test_42_connection_close_of_an_upstream_is_honoured(world: World, line: bytes) -> None:
    world.human.answers = lambda _: answer(b"ok", 200, line.decode())
    async with world.client() as client:
        for number in range(1, 3):
            said = await client.ask("GET", "/plain", b"")
            assert (said.body, said["connection"]) == (b"ok", None)
            assert world.human.connections == number


async def test_42_an_upstream_of_http_1_0_is_used_once_unless_it_asks(world: World) -> None:
    world.human.answers = lambda _: b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"
    for _ in range(2):
        assert (await world.ask()).body == b"ok"
    assert world.human.connections == 2
    world.human.answers = lambda _: b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
    for _ in range(3):
        assert (await world.ask()).body == b"ok"
    assert world.human.connections == 3


async def test_42_early_hints_are_relayed(world: World) -> None:
    world.human.answers = lambda _: b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + answer(b"ok")
    async with world.client() as client:
        client.send(request())
        hints = await client.read(bodiless=True)
        assert (hints.status, hints["link"]) == (103, "</a.css>")
        assert (await client.read()).body == b"ok"


async def test_42_interim_answers_have_an_end(world: World) -> None:
    world.human.answers = lambda _: b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" * 10_000
    async with world.client() as client:
        client.send(request("GET", "/plain", b""))
        while (said := await client.read(bodiless=True)).status == 103:
            pass
        assert said.status == 502
