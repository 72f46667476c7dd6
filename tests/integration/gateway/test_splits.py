"""The same bytes mean the same, however the network cuts them; and whatever comes is a request or a refusal."""

import asyncio
from itertools import pairwise
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.gateway.reader import RequestReader
from tests.integration.gateway.conftest import World
from tests.integration.gateway.http import test_answers as bad_answers
from tests.integration.gateway.http import test_framing, test_request_line
from tests.integration.gateway.http.test_forwarding import HIDDEN, UPGRADE
from tests.integration.gateway.peers import Message, answer, read_message, request

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
REFUSED = {name: sent for name, (sent, _) in (test_framing.REFUSED | test_request_line.REFUSED).items()}
BAD = tuple(REFUSED[name] for name in ("1-length-then-coding", "10-lf-everywhere", "11-chunk-size-hex-notation",
                                       "12-extension-without-name", "25-too-many-headers", "9-folded"))  # fmt: skip


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


# --- the request reader by itself: so many more cuts can be tried

WEBSOCKET = b"GET /refunds HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
VALID = (
    *GOOD,
    _HEAD + b'Transfer-Encoding: chunked\r\n\r\n3;a="b;c"\r\n0\r\n\r\n0;d\r\nX: 1\r\nY: 2\r\n\r\n',
    _HEAD + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    _HEAD + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN),
    WEBSOCKET,
    b"GET http://a/plain HTTP/1.2\r\nHost: a\r\n\r\n",
    b"\r\n\r\nGET /plain HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    _HEAD + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    _HEAD + b"Connection: X-Hop\r\nX-Hop: 1\r\nX-User-Id: u \r\nContent-Length: 0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
)


class Whole(NamedTuple):
    """A request that became whole."""

    method: bytes
    target: bytes
    host: bytes
    headers: tuple[bytes, ...]
    body: bytes
    size: int
    kept_alive: bool
    old: bool
    expects: bool
    upgrade: bytes


Read = tuple[list[Whole], int | None, bytes]


def read(world: World, pieces: list[bytes]) -> Read:
    """The requests that became whole, the status of the refusal, and what was held behind an offered upgrade."""
    reader = RequestReader(world.worker.shared, b"127.0.0.1")
    for piece in pieces:
        reader.feed(piece)
        while reader.offered and reader.requests[-1].upgrade != b"websocket":
            reader.go_on()  # nobody takes the offer
    whole = [
        Whole(
            method=request.method,
            target=request.target,
            host=request.host,
            headers=(*request.lines, *(b"%b: %b\r\n" % pair for pair in request.noted)),
            body=b"".join(request.chunks),
            size=request.size,
            kept_alive=request.keep_alive,
            old=request.old,
            expects=request.expects,
            upgrade=request.upgrade,
        )
        for request in reader.requests
        if request.complete
    ]
    return whole, reader.refusal.status if reader.refusal is not None else None, reader.held


def places() -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(0, 1), max_size=16)


@given(
    st.lists(st.sampled_from(VALID), max_size=6),
    st.sampled_from([b"", *REFUSED.values()]),
    st.lists(st.sampled_from(VALID), max_size=1),
    places(),
)
@settings(USUAL, max_examples=500)
async def test_the_reader_reads_the_same(
    world: World, before: list[bytes], bad: bytes, behind: list[bytes], at: list[float]
) -> None:
    sent = b"".join((*before, bad, *behind))
    offers = next((place for place, one in enumerate(before) if one is WEBSOCKET), len(before))
    whole = read(world, [sent])
    requests, refusal, held = whole
    if offers < len(before):
        assert (len(requests), refusal, held) == (offers + 1, None, b"".join((*before[offers + 1 :], bad, *behind)))
    elif bad:
        assert (len(requests), refusal is not None) == (len(before), True)
    else:
        assert (len(requests), refusal) == (len(before) + len(behind), None)
    assert read(world, cut(sent, at)) == whole


async def test_the_reader_reads_the_same_byte_by_byte(world: World) -> None:
    for sent in (*VALID, *REFUSED.values()):
        if len(sent) < 1000:
            assert read(world, [sent[at : at + 1] for at in range(len(sent))]) == read(world, [sent]), sent


PIECES = (
    *(bytes([one]) for one in b'\r\n \t:,;="01a/*\x00\x7f\xff'), b"\r\n\r\n", b"0\r\n\r\n", b"1\r\nx\r\n", b"HTTP/1.1",
    b"GET / HTTP/1.1\r\n", b"Host: b\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n", b"Expect: 100-continue\r\n",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, samples: tuple[bytes, ...]) -> bytes:
    """Valid messages in a row, with bytes put in, taken out or doubled."""
    data = b"".join(
        draw(st.lists(st.sampled_from([one for one in samples if len(one) < 1000]), min_size=1, max_size=3))
    )
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from((0, 0, 1, 2, 10))))
        put = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3), st.just(data[start:end] * 2)))
        data = data[:start] + put + data[end:]
    return data


@given(mutated((*VALID, *REFUSED.values())), places())
@settings(USUAL, max_examples=1500)
async def test_whatever_comes_is_requests_or_a_refusal(world: World, sent: bytes, at: list[float]) -> None:
    whole, refused, held = read(world, [sent])
    in_pieces = read(world, cut(sent, at))
    # Where two things are wrong, it is not said which of them is told.
    assert (in_pieces[0], in_pieces[1] is None, in_pieces[2]) == (whole, refused is None, held)
    for one in whole:
        assert len(one.body) == one.size
        for word in (one.target, one.host):
            assert word
            assert not set(word) & set(b"\r\n\0\t #")
        for line in one.headers:
            assert line.endswith(b"\r\n")
            assert not set(line[:-2]) & set(b"\r\n\0")


# --- answers

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
    b"HTTP/1.1 103 Hints\r\nContent-Length: 5\r\n\r\nHTTP/1.1 102 X\r\n\r\n" + answer(b"after them"),
    b'HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a="b"\r\nab\r\n0\r\n\r\n',
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
    *bad_answers.HEADS.values(),
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


@given(st.data())
@USUAL
async def test_a_malformed_chunk_is_never_part_of_a_whole_answer(world: World, data: st.DataObject) -> None:
    """What of it came before may have gone on to the client; then the client's connection is cut."""
    pieces = cut(data.draw(st.sampled_from([*bad_answers.CHUNKS.values()])), data.draw(places()))

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.0005)
        await reader.read()

    world.human.handler = handler
    async with world.client() as client:
        client.send(request("GET", "/plain", b""))
        while (head := await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 103 "):
            pass
        if head.startswith(b"HTTP/1.1 200 "):
            assert not (await bad_answers.rest_of(client.reader)).endswith(b"0\r\n\r\n")
        else:
            assert head.startswith(b"HTTP/1.1 502 ")
    assert not world.worker.shared.table.upstreams["human"].idle
