"""HTTP.md, chapter Forwarding: what is said to an upstream of what a client said, and the other way round."""

import asyncio

import pytest

from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.http.cases import CHUNKED, HEAD, Listener
from tests.integration.gateway.peers import answer, request

HOP_BY_HOP = {
    f"27-{name.lower()}": (name, value)
    for name, value in (
        ("Connection", "X-Any"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Authorization", "Basic eA=="),
        ("TE", "gzip"),
        ("Trailer", "X-Any"),
        ("Upgrade", "h2c"),
    )
} | {"28-te-trailers": ("TE", "trailers")}


@pytest.mark.parametrize(("name", "value"), HOP_BY_HOP.values(), ids=HOP_BY_HOP)
async def test_hop_by_hop_headers_go_no_further(world: World, name: str, value: str) -> None:
    world.human.answers = lambda _: answer(b"{}", 200, f"{name}: {value}", "X-Kept: 1")
    said = await world.ask(**{name: value, "X-Kept": "2"})
    [seen] = world.human.seen
    assert (seen[name.lower()], said[name.lower()]) == (None, None)
    assert (seen["x-kept"], said["x-kept"]) == ("2", "1")


NOMINATED = {
    "27-one": ("X-Hop", ["X-Hop"]),
    "27-another-case": ("x-HOP", ["X-Hop"]),
    "27-several": ("close, X-Hop ,\tX-Two", ["X-Hop", "X-Two"]),
    "27-empty-elements": (",, X-Hop,", ["X-Hop"]),
    "27-a-key": ("X-User-Id", ["X-User-Id"]),
    "27-with-upgrade": ("upgrade, X-Hop", ["X-Hop"]),
}


@pytest.mark.parametrize(("connection", "names"), NOMINATED.values(), ids=NOMINATED)
async def test_what_connection_names_goes_no_further(world: World, connection: str, names: list[str]) -> None:
    hops = dict.fromkeys(names, "1")
    world.human.answers = lambda _: answer(b"{}", 200, f"Connection: {connection}", "X-Hop: 1", "X-Two: 1", "X-Kept: 1")
    said = await world.ask(Connection=connection, **hops, X_Kept="2")
    [seen] = world.human.seen
    for name in names:
        assert (seen[name.lower()], said[name.lower()]) == (None, None)
    assert (seen["x-kept"], said["x-kept"]) == ("2", "1")


async def test_27_two_connection_headers_count_as_one(world: World) -> None:
    async with world.client() as client:
        client.send(HEAD + b"Connection: X-One\r\nX-One: 1\r\nConnection: X-Two\r\nX-Two: 2\r\n\r\n")
        assert (await client.read()).status == 200
    assert b"x-one" not in world.human.seen[0].raw.lower()
    assert b"x-two" not in world.human.seen[0].raw.lower()


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Length", "Transfer-Encoding", "X-Request-Id", "X-Forwarded-For", "X-Crossfade-Mode", "Via"],
    ids=lambda name: f"27-{name.lower()}",
)
async def test_connection_cannot_nominate_away_what_an_upstream_needs(world: World, name: str) -> None:
    await world.ask(Connection=name.lower(), body=b"abc")
    [seen] = world.human.seen
    assert (seen["host"], seen["content-length"], seen.body) == ("shop.example", "3", b"abc")
    for kept in ("x-request-id", "x-forwarded-for", "x-crossfade-mode", "via"):
        assert seen[kept] is not None


async def test_27_connection_of_an_answer_cannot_nominate_its_length_away(world: World) -> None:
    world.human.answers = lambda _: answer(b"abc", 200, "Connection: content-length, x-request-id")
    said = await world.ask()
    assert (said.body, said["content-length"]) == (b"abc", "3")
    assert said["x-request-id"] is not None


async def test_27_connection_of_an_interim_answer_counts_too(world: World) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nConnection: X-Hop\r\nX-Hop: 1\r\nLink: </a.css>\r\n\r\n"
    world.human.answers = lambda _: hints + answer()
    async with world.client() as client:
        client.send(request())
        said = await client.read(bodiless=True)
        assert (said.status, said["x-hop"], said["link"]) == (103, None, "</a.css>")


async def test_27_a_body_is_framed_anew(world: World) -> None:
    async with world.client() as client:
        client.send(CHUNKED + b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert (await client.read()).status == 200
    [seen] = world.human.seen
    assert (seen.body, seen["content-length"], seen["transfer-encoding"]) == (b"abcde", "5", None)


async def test_27_a_body_that_streams_is_chunked_anew(world: World) -> None:
    world.human.handler = listener = Listener()
    async with world.client() as client:
        client.send(CHUNKED + b"0003;a=b\r\nabc\r\n")
        await until(lambda: listener.heard and listener.heard[0].endswith(b"\r\n\r\n3\r\nabc\r\n"))
    assert listener.heard[0].lower().count(b"transfer-encoding: chunked\r\n") == 1


async def test_29_via_is_appended(world: World) -> None:
    await world.ask(Via="1.0 front")
    values = [value for name, value in world.human.seen[0].headers if name == "via"]
    assert values == ["1.0 front", "1.1 crossfade"]


async def test_29_what_only_we_may_say_is_not_believed_of_a_client(world: World) -> None:
    await world.ask(X_Crossfade_Arm="agent", X_Crossfade_Mode="canary", X_Forwarded_For="1.2.3.4", Forwarded="for=1")
    seen = world.human.seen[0]
    assert (seen["x-crossfade-arm"], seen["x-crossfade-mode"], seen["forwarded"]) == (None, "legacy", None)
    assert [value for name, value in seen.headers if name == "x-forwarded-for"] == ["127.0.0.1"]


# --- 30: upgrades that are none. llhttp takes what follows for another protocol, a body too.

HIDDEN = b"GET /plain/hidden HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n"
WITH_BODY = {
    "30-h2c-with-length": (b"POST", UPGRADE + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN),
    "30-h2c-with-chunks": (
        b"POST",
        UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\nX: 1\r\n\r\n" % (len(HIDDEN), HIDDEN),
    ),
    "30-websocket-with-length": (
        b"GET",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    ),
    "30-websocket-with-chunks": (
        b"GET",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (len(HIDDEN), HIDDEN),
    ),
}


@pytest.mark.parametrize(("method", "rest"), WITH_BODY.values(), ids=WITH_BODY)
@pytest.mark.parametrize("apart", [False, True], ids=["at-once", "in-pieces"])
async def test_the_body_of_an_upgrade_that_is_none_is_no_request(
    world: World, method: bytes, rest: bytes, apart: bool
) -> None:
    sent = method + b" /plain/first HTTP/1.1\r\nHost: a\r\n" + rest + request("GET", "/plain/second", b"")
    async with world.client() as client:
        for piece in [sent] if not apart else [sent[at : at + 7] for at in range(0, len(sent), 7)]:
            client.send(piece)
            await asyncio.sleep(0)
        assert [(await client.read()).status for _ in range(2)] == [200, 200]
    assert [(seen.target, seen.body, seen["upgrade"]) for seen in world.human.seen] == [
        ("/plain/first", HIDDEN, None),
        ("/plain/second", b"", None),
    ]


async def test_30_a_bad_body_of_an_upgrade_that_is_none_is_refused(world: World) -> None:
    async with world.client() as client:
        client.send(HEAD + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n" + HIDDEN)
        assert (await client.read()).status == 400
        assert await client.reader.read() == b""
    assert world.human.connections == 0


# --- 31: a switch of protocols that nobody asked for

UNASKED = {
    "31-whole": b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "31-bare": b"HTTP/1.1 101 Switching\r\n\r\n",
    "31-without-connection": b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
    "31-and-an-answer": b"HTTP/1.1 101 Switching\r\n\r\n" + answer(b"smuggled"),
    "31-whole-and-an-answer": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + answer(b"smuggled"),
    "31-with-length": b"HTTP/1.1 101 Switching\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("said", UNASKED.values(), ids=UNASKED)
async def test_a_switch_that_nobody_asked_for_is_502(world: World, said: bytes) -> None:
    world.human.answers = lambda _: said if len(world.human.seen) == 1 else answer(b"fresh")
    async with world.client() as client:
        assert (await client.ask()).status == 502
        assert (await client.ask()).body == b"fresh"
    assert world.human.connections == 2


# --- 32: expectations

EXPECTING = {
    "32-expect": b"100-continue",
    "32-expect-another-case": b"100-Continue",
    "32-expect-white-space": b"100-continue \t",
}


@pytest.mark.parametrize("value", EXPECTING.values(), ids=EXPECTING)
async def test_100_continue_is_answered_by_us(world: World, value: bytes) -> None:
    async with world.client() as client:
        client.send(HEAD + b"Content-Length: 3\r\nExpect: " + value + b"\r\n\r\n")
        assert (await client.read(bodiless=True)).status == 100
        client.send(b"abc")
        assert (await client.read()).status == 200
    assert (world.human.seen[0].body, world.human.seen[0]["expect"]) == (b"abc", None)


async def test_32_an_upstreams_own_100_is_not_passed_on_twice(world: World) -> None:
    world.human.answers = lambda _: b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"ok")
    assert (await world.ask()).body == b"ok"


@pytest.mark.parametrize(
    "interim", [b"100 Continue", b"103 Early Hints", b"199 Odd"], ids=lambda line: f"32-{line[:3]!r}"
)
async def test_http_1_0_hears_no_interim_answer(world: World, interim: bytes) -> None:
    world.human.answers = lambda _: b"HTTP/1.1 " + interim + b"\r\n\r\n" + answer(b"ok")
    async with world.client() as client:
        client.send(b"POST /refunds HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        await asyncio.sleep(0.02)
        client.send(b"x")
        said = await client.read()
        assert (said.status, said.body) == (200, b"ok")
