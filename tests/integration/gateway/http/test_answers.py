"""HTTP.md, rules 33 to 36: where an answer ends, and what becomes of one that nobody can be sure of."""

import asyncio

import pytest

from proxy.model.snapshot import BUCKETS
from tests.integration.gateway.conftest import SHADOW_ALL, World, until
from tests.integration.gateway.http.test_framing import BAD_SIZES
from tests.integration.gateway.peers import answer, read_message, request

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

HEADS = {
    **{
        f"34-{name}": OK + lines + b"\r\n\r\n0\r\n\r\n"
        for name, lines in {
            "length-and-coding": b"Content-Length: 5\r\nTransfer-Encoding: chunked",
            "coding-and-length": b"Transfer-Encoding: chunked\r\nContent-Length: 5",
            "two-lengths": b"Content-Length: 4\r\nContent-Length: 5",
            "same-length-twice": b"Content-Length: 5\r\nContent-Length: 5",
            "list-of-lengths": b"Content-Length: 4, 5",
            "list-of-the-same-length": b"Content-Length: 5, 5",
            "length-plus": b"Content-Length: +5",
            "length-minus": b"Content-Length: -5",
            "length-hex": b"Content-Length: 0x5",
            "length-empty": b"Content-Length:",
            "length-2^63": b"Content-Length: 9223372036854775808",
            "length-2^64": b"Content-Length: 18446744073709551616",
            "length-5000-digits": b"Content-Length: " + b"0" * 5000 + b"5",
            "coding-gzip": b"Transfer-Encoding: gzip",
            "coding-identity": b"Transfer-Encoding: identity",
            "coding-gzip-chunked": b"Transfer-Encoding: gzip, chunked",
            "coding-chunked-gzip": b"Transfer-Encoding: chunked, gzip",
            "coding-chunked-twice": b"Transfer-Encoding: chunked, chunked",
            "coding-chunked-in-two-lines": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "coding-empty": b"Transfer-Encoding:",
            "coding-xchunked": b"Transfer-Encoding: xchunked",
            "coding-leading-comma": b"Transfer-Encoding: ,chunked",
            "coding-trailing-comma": b"Transfer-Encoding: chunked,",
            "coding-tab-behind": b"Transfer-Encoding: chunked\t",
            "coding-vertical-tab": b"Transfer-Encoding: \x0bchunked",
            "space-before-colon": b"X : 1",
            "folded": b"X: a\r\n b",
            "folded-first-line": b" X: a",
            "cr-in-value": b"X: a\rb",
            "lf-in-value": b"X: a\nb",
            "lf-behind-header": b"X: a\nY: b",
            "nul": b"X: a\x00b",
            "control": b"X: a\x01b",
            "delete": b"X: a\x7fb",
            "no-name": b": a",
            "no-colon": b"nonsense",
            "space-in-name": b"Bad Name: 1",
            "not-ascii-in-name": b"X\xe4: 1",
            "head-too-large": b"X: " + b"y" * 100_000,
        }.items()
    },
    **{
        f"34-status-line-{name}": line + b"\r\nContent-Length: 0\r\n\r\n"
        for name, line in {
            "no-http": b"SMTP ready",
            "two-digits": b"HTTP/1.1 20 OK",
            "four-digits": b"HTTP/1.1 2000 OK",
            "letter": b"HTTP/1.1 2x0 OK",
            "minus": b"HTTP/1.1 -20 OK",
            "no-status": b"HTTP/1.1 OK",
            "no-space": b"HTTP/1.1 200OK",
            "000": b"HTTP/1.1 000 No",
            "099": b"HTTP/1.1 099 No",
            "600": b"HTTP/1.1 600 No",
            "999": b"HTTP/1.1 999 No",
            "two-spaces": b"HTTP/1.1  200 OK",
            "tab": b"HTTP/1.1\t200 OK",
            "space-before": b" HTTP/1.1 200 OK",
            "empty-line-before": b"\r\nHTTP/1.1 200 OK",
            "lf-before": b"\nHTTP/1.1 200 OK",
            "lower-case": b"http/1.1 200 OK",
            "no-minor": b"HTTP/1 200 OK",
            "two-digits-major": b"HTTP/11.1 200 OK",
            "0.9": b"HTTP/0.9 200 OK",
            "2.0": b"HTTP/2.0 200 OK",
            "3.0": b"HTTP/3.0 200 OK",
            "rtsp": b"RTSP/1.0 200 OK",
            "ice": b"ICE/1.0 200 OK",
            "icy": b"ICY 200 OK",
            "cr": b"HTTP/1.1 200 OK\rX: 1",
            "lf": b"HTTP/1.1 200 OK\nX: 1",
        }.items()
    },
    "34-lf-everywhere": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "34-coding-in-1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "34-coding-in-1.0-kept-alive": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "34-body-of-an-unknown-interim": b"HTTP/1.1 104 X\r\nContent-Length: 5\r\n\r\nhello" + answer(b"ok"),
    "34-chunks-of-an-unknown-interim": b"HTTP/1.1 199 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + answer(b"ok"),
    "34-head-of-an-interim-bad": b"HTTP/1.1 103 X\r\nX : 1\r\n\r\n" + answer(b"ok"),
    "34-bad-behind-an-interim": b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nX : 1\r\n\r\n",
}

CHUNKS = {
    **{name: CHUNKED + size + b"\r\nabc\r\n0\r\n\r\n" for name, size in BAD_SIZES.items()},
    "12-extension-without-name-behind-interim": (
        b"HTTP/1.1 103 X\r\nA: b\r\n\r\nHTTP/1.1 103 X\r\n\r\n" + CHUNKED + b"3;=b\r\nabc\r\n0\r\n\r\n"
    ),
    "13-chunk-longer": CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
    "13-chunk-shorter": CHUNKED + b"3\r\nab\r\n0\r\n\r\n",
    "13-chunk-without-end": CHUNKED + b"3\r\nabc0\r\n\r\n",
    "13-lf-behind-chunk": CHUNKED + b"3\r\nabc\n0\r\n\r\n",
    "14-extension-too-long": CHUNKED + b"3;a=" + b"b" * 5000,
    "14-trailers-too-large": CHUNKED + b"0\r\nX: " + b"y" * 100_000,
    "16-length-in-trailer": CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n",
    "16-bad-trailer": CHUNKED + b"0\r\nX : 1\r\n\r\n",
    "16-lf-as-end-of-body": CHUNKED + b"0\r\n\n",
}

BAD = HEADS | CHUNKS


@pytest.mark.parametrize("said", BAD.values(), ids=BAD)
async def test_a_malformed_answer_is_502_and_its_connection_never_used_again(world: World, said: bytes) -> None:
    world.human.answers = lambda _: said if len(world.human.seen) == 1 else answer(b"fresh")
    async with world.client() as client:
        client.send(request("GET", "/plain", b""))
        while (told := await client.read()).status < 200:
            pass
        assert (told.status, b'"error":"upstream_reset"' in told.body) == (502, True)
        assert not world.worker.shared.table.upstreams["human"].idle
        assert (await client.ask("GET", "/plain", b"")).body == b"fresh"
    assert world.human.connections == 2


@pytest.mark.parametrize("said", BAD.values(), ids=BAD)
async def test_a_malformed_answer_of_the_agent_harms_nobody(world: World, said: bytes) -> None:
    """Of its copy: the client hears legacy alone. As the serving arm: legacy takes over."""
    world.agent.answers = lambda _: said
    world.use(shadow=SHADOW_ALL)
    assert (await world.ask()).body == b"{}"
    await until(lambda: world.fates() == {"failed": 1})
    assert not world.worker.shared.table.upstreams["agent"].idle
    world.use(weight=BUCKETS)
    told = await world.ask(X_User_Id="u")
    assert (told.status, told["x-crossfade-arm"], told.body) == (200, "legacy", b"{}")
    assert not world.worker.shared.table.upstreams["agent"].idle


@pytest.mark.parametrize("said", CHUNKS.values(), ids=CHUNKS)
async def test_a_malformed_chunk_in_an_answer_under_way_cuts_it(world: World, said: bytes) -> None:
    go = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await read_message(reader) is None:
            return
        writer.write(CHUNKED + b"2\r\nok\r\n")
        await go.wait()
        writer.write(said.rpartition(CHUNKED)[2])
        await reader.read()

    world.human.handler = handler
    async with world.client() as client:
        client.send(request("GET", "/plain", b""))
        await client.reader.readuntil(b"\r\n\r\n2\r\nok\r\n")
        go.set()
        assert not (await rest_of(client.reader)).endswith(b"0\r\n\r\n")
    await until(lambda: not world.worker.shared.table.upstreams["human"].active)
    assert not world.worker.shared.table.upstreams["human"].idle


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection ends, by a reset or not."""
    got = b""
    async with asyncio.timeout(5):
        try:
            while data := await reader.read(65536):
                got += data
        except ConnectionError:
            pass
    return got


# --- 33: answers without a body

BODILESS = {
    "33-head": ("HEAD", OK + b"Content-Length: 10\r\n\r\n", 200, "10"),
    "33-head-chunked": ("HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n", 200, None),
    "33-head-without-length": ("HEAD", OK + b"\r\n", 200, None),
    "33-head-404": ("HEAD", b"HTTP/1.1 404 No\r\nContent-Length: 10\r\n\r\n", 404, "10"),
    "33-204": ("POST", b"HTTP/1.1 204 No\r\n\r\n", 204, None),
    "33-204-with-length": ("GET", b"HTTP/1.1 204 No\r\nContent-Length: 10\r\n\r\n", 204, None),
    "33-204-chunked": ("GET", b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", 204, None),
    "33-304-with-length": ("GET", b"HTTP/1.1 304 No\r\nContent-Length: 10\r\n\r\n", 304, "10"),
    "33-304-with-length-to-head": ("HEAD", b"HTTP/1.1 304 No\r\nContent-Length: 10\r\n\r\n", 304, "10"),
    "33-304-chunked": ("GET", b"HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n", 304, None),
    "33-304-without-length": ("GET", b"HTTP/1.1 304 No\r\n\r\n", 304, None),
}


@pytest.mark.parametrize(("method", "said", "status", "length"), BODILESS.values(), ids=BODILESS)
async def test_an_answer_without_a_body_leaves_both_connections_usable(
    world: World, method: str, said: bytes, status: int, length: str | None
) -> None:
    world.human.answers = lambda _: said
    async with world.client() as client:
        for _ in range(3):
            client.send(request(method, "/plain", b""))
            told = await client.read(bodiless=True)
            assert (told.status, told["content-length"], told["transfer-encoding"]) == (status, length, None)
    assert world.human.connections == 1


INTERIM = {
    "33-103-with-length": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 10\r\n\r\n",
    "33-103-chunked": b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
    "33-102-with-length": b"HTTP/1.1 102 Processing\r\nContent-Length: 10\r\n\r\n",
    "33-199": b"HTTP/1.1 199 Odd\r\n\r\n",
    "33-199-of-length-0": b"HTTP/1.1 199 Odd\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("said", INTERIM.values(), ids=INTERIM)
async def test_an_interim_answer_has_neither_body_nor_length(world: World, said: bytes) -> None:
    world.human.answers = lambda _: said + answer(b"ok")
    async with world.client() as client:
        for _ in range(2):
            client.send(request("GET", "/plain", b""))
            told = await client.read(bodiless=True)
            assert (told.status // 100, told["content-length"], told["transfer-encoding"]) == (1, None, None)
            assert (await client.read()).body == b"ok"
    assert world.human.connections == 1


# --- framing anew, and answers that end with their connection


async def test_27_chunks_are_chunked_anew(world: World) -> None:
    world.human.answers = lambda _: CHUNKED + b'3;ext="1"\r\nabc\r\n0004\r\ndefg\r\n0\r\nX-Trailer: 1\r\n\r\n'
    async with world.client() as client:
        for _ in range(2):
            client.send(request("GET", "/plain", b""))
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert head.lower().count(b"transfer-encoding: chunked\r\n") == 1
            assert await client.reader.readexactly(22) == b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    assert world.human.connections == 1


@pytest.mark.parametrize(
    "trailer", [b"Connection: close", b"Host: a", b"X_Crossfade_Arm: x"], ids=lambda line: f"16-{line.decode()[:10]}"
)
async def test_trailers_of_an_answer_are_dropped(world: World, trailer: bytes) -> None:
    world.human.answers = lambda _: CHUNKED + b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n\r\n"
    async with world.client() as client:
        for _ in range(3):
            client.send(request("GET", "/plain", b""))
            await client.reader.readuntil(b"\r\n\r\n")
            assert await client.reader.readexactly(13) == b"3\r\nabc\r\n0\r\n\r\n"


async def test_34_an_answer_that_ends_with_its_connection_is_whole(world: World) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")

    world.human.handler = handler
    async with world.client() as client:
        for _ in range(2):
            said = await client.ask("GET", "/plain", b"")
            assert (said.body, said["transfer-encoding"]) == (b"until the end", "chunked")
    assert world.human.connections == 2


# --- 35: cut short

CUT = {
    "35-length": OK + b"Content-Length: 10\r\n\r\nabc",
    "35-length-without-a-byte": OK + b"Content-Length: 10\r\n\r\n",
    "35-in-a-chunk": CHUNKED + b"5\r\nabc",
    "35-behind-a-chunk": CHUNKED + b"3\r\nabc\r\n",
    "35-in-a-chunk-size": CHUNKED + b"3\r\nabc\r\n1",
    "35-before-the-trailers-end": CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\n",
    "35-before-the-last-line": CHUNKED + b"3\r\nabc\r\n0\r\n",
}


@pytest.mark.parametrize("old", [False, True], ids=["1.1", "1.0"])
@pytest.mark.parametrize("reset", [False, True], ids=["ended", "reset"])
@pytest.mark.parametrize("said", CUT.values(), ids=CUT)
async def test_an_answer_cut_short_never_looks_whole(world: World, said: bytes, reset: bool, old: bool) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(said)
        await asyncio.sleep(0.02)
        if reset:
            writer.transport.abort()

    world.human.handler = handler
    async with world.client() as client:
        client.send(b"GET /plain HTTP/1.%d\r\nHost: a\r\n\r\n" % (0 if old else 1))
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        got, whole = b"", False
        try:
            while data := await client.reader.read(65536):
                got += data
            whole = b"content-length" not in head.lower() and (old or got.endswith(b"0\r\n\r\n"))
        except ConnectionError:
            pass
        assert not whole
        assert len(got) < 10
    assert not world.worker.shared.table.upstreams["human"].idle


# --- 36: bytes after the end

AFTER = {
    "36-an-answer": answer(b"ok") + answer(b"smuggled"),
    "36-an-answer-behind-chunks": CHUNKED + b"2\r\nok\r\n0\r\n\r\n" + answer(b"smuggled"),
    "36-junk": answer(b"ok") + b"junk",
    "36-a-longer-body": OK + b"Content-Length: 2\r\n\r\nok, and more",
    "36-half-a-head": answer(b"ok") + b"HTTP/1.1 200 OK\r\nContent-Le",
    "36-an-interim-answer": answer(b"ok") + b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("later", [False, True], ids=["at-once", "later"])
@pytest.mark.parametrize("said", AFTER.values(), ids=AFTER)
async def test_bytes_after_an_answer_go_down_with_their_connection(world: World, said: bytes, later: bool) -> None:
    end = said.index(b"ok") + 2
    end += 7 if said.startswith(CHUNKED) else 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_message(reader) is not None:
            writer.write(said[:end] if later else said)
            if later:
                await asyncio.sleep(0.02)
                writer.write(said[end:])

    world.human.handler = handler
    human = world.worker.shared.table.upstreams["human"]
    async with world.client() as client:
        for number in range(1, 4):
            assert (await client.ask("GET", "/plain", b"")).body == b"ok"
            await until(lambda: not human.idle and not human.active)
            assert world.human.connections == number


async def test_36_an_empty_line_after_an_answer_is_part_of_no_other(world: World) -> None:
    """Some old servers end a body so. It says nothing, and llhttp does not tell of it."""
    world.human.answers = lambda _: answer(b"ok") + b"\r\n"
    async with world.client() as client:
        for _ in range(3):
            assert (await client.ask("GET", "/plain", b"")).body == b"ok"


BODIES = {
    "36-body-of-head": ("HEAD", OK + b"Content-Length: 2\r\n\r\n", b"ok"),
    "36-chunks-of-head": ("HEAD", CHUNKED, b"2\r\nok\r\n0\r\n\r\n"),
    "36-body-of-head-without-length": ("HEAD", OK + b"\r\n", b"ok"),
    "36-body-of-204": ("GET", b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\n", b"ok"),
    "36-chunks-of-204": ("GET", b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n"),
    "36-body-of-304": ("GET", b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\n", b"ok"),
    "36-an-answer-as-body-of-head": ("HEAD", OK + b"Content-Length: 99\r\n\r\n", answer(b"smuggled")),
}


@pytest.mark.parametrize("later", [False, True], ids=["at-once", "later"])
@pytest.mark.parametrize(("method", "head", "body"), BODIES.values(), ids=BODIES)
async def test_a_body_that_must_not_be_is_part_of_no_answer(
    world: World, method: str, head: bytes, body: bytes, later: bool
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (message := await read_message(reader)) is not None:
            if message.target == "/plain/next":
                writer.write(answer(b"next"))
                continue
            writer.write(head if later else head + body)
            if later:
                await asyncio.sleep(0.02)
                writer.write(body)

    world.human.handler = handler
    human = world.worker.shared.table.upstreams["human"]
    async with world.client() as client:
        client.send(request(method, "/plain", b""))
        assert (await client.read(bodiless=True)).body == b""
        await until(lambda: not human.idle and not human.active)
        assert (await client.ask("GET", "/plain/next", b"")).body == b"next"
    assert world.human.connections == 2
