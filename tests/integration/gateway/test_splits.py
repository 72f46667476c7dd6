"""The same bytes mean the same, however the network cuts them."""

import asyncio
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.gateway.conftest import World
from tests.integration.gateway.peers import Message, answer, read_message, request
from tests.integration.gateway.test_refusals import REFUSED

USUAL = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_HEAD = b"POST /plain HTTP/1.1\r\nHost: a\r\n"
CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX-T: 1\r\n\r\n"
GOOD = (
    request("GET", "/plain/1", b""),
    request("POST", "/plain/2", b"abc"),
    request("POST", "/refunds", b"x" * 70_000),
    CHUNKED,
    request("HEAD", "/plain/3", b""),
    b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n" + request("PUT", "/plain/4", b"\r\n\r\nGET / HTTP/1.1\r\n"),
)
BAD = (REFUSED["both lengths"][0], REFUSED["bare LF"][0], REFUSED["a chunk size in hex notation"][0],
       REFUSED["too many headers"][0], REFUSED["a folded line"][0])  # fmt: skip


def cut(data: bytes, places: list[float]) -> list[bytes]:
    marks = sorted({0, len(data), *(int(place * len(data)) for place in places)})
    return [data[start:end] for start, end in pairwise(marks)]


def told(message: Message) -> tuple[int, bytes]:
    """What of an answer may not depend on the cuts."""
    return message.status, message.body if message.status < 400 else b""


async def conversation(world: World, pieces: list[bytes], answers: list[bool]) -> tuple[list[object], list[object]]:
    """All answers until the connection's end (`answers`: whether each is bodiless), and what legacy has seen."""
    world.human.seen.clear()
    heard: list[object] = []
    async with world.client() as client:
        for piece in pieces:
            client.send(piece)
            await asyncio.sleep(0.0005)
        for bodiless in answers:
            try:
                message = await read_message(client.reader, bodiless=bodiless)
            except ConnectionError:
                message = None
            heard.append(told(message) if message is not None else None)
    return heard, [(seen.start, seen.body) for seen in world.human.seen]


@given(st.data())
@USUAL
async def test_requests(world: World, data: st.DataObject) -> None:
    world.human.answers = lambda seen: answer(b"" if seen.start.startswith("HEAD") else seen.body)
    sent = data.draw(st.lists(st.sampled_from(GOOD), min_size=1, max_size=5))
    if bad := data.draw(st.sampled_from((b"", *BAD))):
        sent.append(bad)
    bodiless = [piece.startswith(b"HEAD") for piece in sent]
    whole = await conversation(world, [b"".join(sent)], bodiless)
    assert len([said for said in whole[0] if said]) == len(sent)
    places = data.draw(st.lists(st.floats(0, 1), max_size=12))
    assert await conversation(world, cut(b"".join(sent), places), bodiless) == whole


async def test_requests_byte_by_byte(world: World) -> None:
    world.human.answers = lambda seen: answer(seen.body)
    async with world.client() as client:
        for sent in (CHUNKED, request("POST", "/plain", b"abc"), GOOD[5]):
            for place in range(len(sent)):
                client.send(sent[place : place + 1])
                await asyncio.sleep(0)
            assert (await client.read()).status == 200
    assert [seen.body for seen in world.human.seen] == [b"abc0123456789abcdef", b"abc", b""]


async def test_many_pipelined_requests_are_cut_anywhere(world: World) -> None:
    """A head that is cut by the end of a read is not as large as the read."""
    world.human.answers = lambda seen: answer(seen.target.encode())
    count = 4000
    async with world.client() as client:
        client.send(b"".join(request("GET", f"/plain/{number:020}", b"") for number in range(count)))
        for number in range(count):
            said = await client.read()
            assert (said.status, said.body) == (200, b"/plain/%020d" % number)


async def test_a_head_behind_a_body_is_not_as_large_as_both(world: World) -> None:
    async with world.client() as client:
        second = request("GET", "/plain/second", b"")
        client.send(request("POST", "/plain", b"x" * 60_000) + second[:20])
        assert (await client.read()).status == 200
        client.send(second[20:])
        assert (await client.read()).status == 200


async def test_the_number_of_headers_is_the_same_in_any_company(world: World) -> None:
    many = _HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(99)) + b"Content-Length: 0\r\n\r\n"
    async with world.client() as client:
        client.send(many)
        assert (await client.read()).status == 431
    async with world.client() as client:
        client.send(request("POST", "/plain", b"x" * 60_000) + many)
        assert (await client.read()).status == 200
        assert (await client.read()).status == 431


ANSWERS = (
    answer(b"abc"),
    answer(b"x" * 70_000),
    answer(b""),
    b"HTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"after 100"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n5\r\ndefgh\r\n0\r\nX-T: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    answer(b"ok") + answer(b"unasked"),
    answer(b"ok") + b"junk",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    b"nonsense\r\n\r\n",
)


@given(st.data())
@USUAL
async def test_answers(world: World, data: st.DataObject) -> None:
    said = data.draw(st.sampled_from(ANSWERS))
    pieces = [said]

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_message(reader) is not None:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.0005)
            if said.endswith((b"the end", b"unasked")):
                break

    world.human.handler = handler

    async def heard() -> list[tuple[int, bytes]]:
        got = []
        for _ in range(2):
            async with world.client() as client:
                client.send(request("GET", "/plain", b""))
                got.append(told(await client.read()))
        return got

    first = await heard()
    pieces = cut(said, data.draw(st.lists(st.floats(0, 1), max_size=8)))
    assert await heard() == first
