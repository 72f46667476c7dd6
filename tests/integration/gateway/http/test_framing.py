"""HTTP.md, chapter Framing: where a message ends, and what is refused because two readers might not agree on it."""

import pytest

from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.http.cases import CHUNKED, HEAD, Cases, Listener, is_refused

LENGTHS: Cases = {
    "1-length-then-coding": (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "1-coding-then-length": (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "1-no-length-and-a-coding": (HEAD + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "2-two-lengths": (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "2-two-lengths-in-other-spellings": (HEAD + b"content-length: 3\r\nCONTENT-LENGTH: 4\r\n\r\nabcd", 400),
    "2-list-of-two-lengths": (HEAD + b"Content-Length: 3, 4\r\n\r\nabcd", 400),
    "3-same-length-twice": (HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "3-list-of-the-same-length": (HEAD + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    **{
        f"4-content-length-{name}": (HEAD + b"Content-Length: " + value + b"\r\n\r\nabc", 400)
        for name, value in {
            "plus": b"+3",
            "minus": b"-3",
            "minus-zero": b"-0",
            "hex": b"0x3",
            "hex-digit": b"a",
            "underscore": b"1_0",
            "inner-space": b"1 0",
            "inner-tab": b"1\t0",
            "empty": b"",
            "blank": b" ",
            "comma": b"3,",
            "decimal-point": b"3.0",
            "exponent": b"3e0",
            "quoted": b'"3"',
            "other-digits": "\u0663".encode(),
            "2^63": b"9223372036854775808",
            "2^64-1": b"18446744073709551615",
            "2^64": b"18446744073709551616",
            "2^64+3": b"18446744073709551619",
            "5000-digits": b"0" * 5000 + b"3",
            "vertical-tab": b"3\x0b",
        }.items()
    },
}

CODINGS: Cases = {
    **{
        f"5-coding-{name}": (HEAD + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n", status)
        for name, value, status in (
            ("gzip", b"gzip", 400),
            ("identity", b"identity", 400),
            ("chunked-not-last", b"chunked, gzip", 400),
            ("chunked-then-identity", b"chunked, identity", 400),
            ("not-known", b"gzip, chunked", 501),
            ("not-known-at-all", b"magic;level=9, chunked", 501),
            ("identity-chunked", b"identity, chunked", 501),
        )
    },
    "5-chunked-not-last-line": (
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400,
    ),
    "5-not-known-in-two-lines": (
        HEAD + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501,
    ),
    "5-with-get": (b"GET /refunds HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    **{
        f"6-coding-{name}": (HEAD + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n", 400)
        for name, value in {
            "chunked-twice": b"chunked, chunked",
            "empty": b"",
            "blank": b" \t",
            "xchunked": b"xchunked",
            "chunkedx": b"chunkedx",
            "leading-comma": b",chunked",
            "trailing-comma": b"chunked,",
            "comma-alone": b",",
            "inner-commas": b"gzip,,chunked",
            "vertical-tab-before": b"\x0bchunked",
            "vertical-tab-behind": b"chunked\x0b",
            "form-feed": b"\x0cchunked",
            "nul": b"chunk\x00ed",
            "parameter": b"chunked;q=1",
            "quoted": b'"chunked"',
            "two-words": b"chunked chunked",
            "one-letter-off": b"chunke",
            "tab-behind": b"chunked\t",
        }.items()
    },
    "6-coding-chunked-in-two-lines": (
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
    ),
    "6-coding-empty-and-chunked": (
        HEAD + b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
    ),
    "7-coding-in-1.0": (b"POST /refunds HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "7-coding-in-1.0-kept-alive": (
        b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
    ),
}  # fmt: skip

LINES: Cases = {
    "8-space-before-colon": (HEAD + b"X : a\r\n\r\n", 400),
    "8-tab-before-colon": (HEAD + b"X\t: a\r\n\r\n", 400),
    "8-space-before-colon-of-length": (HEAD + b"Content-Length : 3\r\n\r\nabc", 400),
    "8-space-before-colon-of-coding": (HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "9-folded": (HEAD + b"X: a\r\n b\r\n\r\n", 400),
    "9-folded-with-tab": (HEAD + b"X: a\r\n\tb\r\n\r\n", 400),
    "9-folded-empty": (HEAD + b"X:\r\n b\r\n\r\n", 400),
    "9-folded-coding": (HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    "9-folded-first-line": (b"POST /refunds HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "9-folded-trailer": (CHUNKED + b"0\r\nX: a\r\n b\r\n\r\n", 400),
    "10-cr-in-value": (HEAD + b"X: a\rb\r\n\r\n", 400),
    "10-cr-before-crlf": (HEAD + b"X: a\r\r\n\r\n", 400),
    "10-cr-as-line-end": (HEAD + b"X: a\rY: b\r\n\r\n", 400),
    "10-cr-behind-request-line": (b"POST /refunds HTTP/1.1\rHost: a\r\n\r\n", 400),
    "10-cr-as-end-of-head": (HEAD + b"X: a\r\n\rContent-Length: 3\r\n\r\n", 400),
    "10-lf-everywhere": (b"POST /refunds HTTP/1.1\nHost: a\n\n", 400),
    "10-lf-behind-request-line": (b"POST /refunds HTTP/1.1\nHost: a\r\n\r\n", 400),
    "10-lf-behind-header": (b"POST /refunds HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    "10-lf-as-end-of-head": (HEAD + b"X: b\r\n\n", 400),
    "10-lf-behind-chunk-size": (CHUNKED + b"3\nabc\r\n0\r\n\r\n", 400),
    "10-lf-behind-chunk-extension": (CHUNKED + b"3;a=b\nabc\r\n0\r\n\r\n", 400),
    "10-lf-behind-chunk": (CHUNKED + b"3\r\nabc\n0\r\n\r\n", 400),
    "10-lf-behind-last-chunk": (CHUNKED + b"0\n\r\n", 400),
    "10-lf-behind-trailer": (CHUNKED + b"0\r\nX: a\n\r\n", 400),
    "10-lf-as-end-of-body": (CHUNKED + b"0\r\n\n", 400),
    "10-cr-behind-chunk-size": (CHUNKED + b"3\rabc\r\n0\r\n\r\n", 400),
    "10-cr-behind-chunk": (CHUNKED + b"3\r\nabc\r0\r\n\r\n", 400),
}

BAD_SIZES = {
    "11-chunk-size-hex-notation": b"0x3",
    "11-chunk-size-plus": b"+3",
    "11-chunk-size-minus": b"-3",
    "11-chunk-size-underscore": b"0_3",
    "11-chunk-size-leading-space": b" 3",
    "11-chunk-size-leading-tab": b"\t3",
    "11-chunk-size-empty": b"",
    "11-chunk-size-no-hex": b"g",
    "11-chunk-size-2^63": b"8000000000000000",
    "11-chunk-size-2^64-1": b"ffffffffffffffff",
    "11-chunk-size-2^64": b"10000000000000000",
    "11-chunk-size-2^64+3": b"10000000000000003",
    "11-chunk-size-17-digits": b"00000000000000003",
    "11-chunk-size-comma": b"3,3",
    "12-chunk-size-trailing-space": b"3 ",
    "12-chunk-size-trailing-tab": b"3\t",
    "12-chunk-size-vertical-tab": b"3\x0b",
    "12-chunk-size-nul": b"3\x00",
    "12-extension-bare": b"3;",
    "12-extension-blank": b"3; ",
    "12-extension-empty": b"3;;a",
    "12-extension-empty-at-end": b"3;a=b;",
    "12-extension-without-name": b"3;=b",
    "12-extension-without-value": b"3;a=",
    "12-extension-without-value-and-more": b"3;a=;b",
    "12-extension-two-equals": b"3;a==b",
    "12-extension-space-before": b"3 ;a=b",
    "12-extension-space-behind-semicolon": b"3; a=b",
    "12-extension-space-before-equals": b"3;a =b",
    "12-extension-space-behind-equals": b"3;a= b",
    "12-extension-space-at-end": b"3;a=b ",
    "12-extension-two-words": b"3;a b",
    "12-extension-not-a-token": b"3;a=@",
    "12-extension-quote-not-closed": b'3;a="b',
    "12-extension-quote-and-more": b'3;a="b"c',
    "12-extension-quoted-name": b'3;"a"=b',
    "12-extension-control": b"3;\x01",
    "12-extension-control-in-value": b"3;a=\x01",
    "12-extension-control-in-quotes": b'3;a="\x01"',
    "12-extension-escaped-control": b'3;a="\\\x01"',
    "12-extension-nul": b"3;a\x00",
    "12-extension-delete": b"3;a=\x7f",
    "12-extension-not-ascii": b"3;a=\xff",
    "12-extension-cr": b"3;a\rb",
    "12-extension-cr-in-quotes": b'3;a="\r"',
    "12-extension-lf-in-quotes": b'3;a="\nb"',
}

CHUNKS: Cases = {
    **{name: (CHUNKED + size + b"\r\nabc\r\n0\r\n\r\n", 400) for name, size in BAD_SIZES.items()},
    "14-extension-too-long": (CHUNKED + b"3;a=" + b"b" * 5000 + b"\r\nabc\r\n0\r\n\r\n", 431),
    "14-extension-without-end": (CHUNKED + b"3;a=" + b"b" * 5000, 431),
    "11-last-chunk-minus": (CHUNKED + b"3\r\nabc\r\n-0\r\n\r\n", 400),
    "12-last-chunk-trailing-space": (CHUNKED + b"3\r\nabc\r\n0 \r\n\r\n", 400),
    "12-last-chunk-bare-semicolon": (CHUNKED + b"3\r\nabc\r\n0;\r\n\r\n", 400),
    "12-last-chunk-extension-without-name": (CHUNKED + b"3\r\nabc\r\n0;=b\r\n\r\n", 400),
    "13-chunk-longer": (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", 400),
    "13-chunk-shorter": (CHUNKED + b"3\r\nab\r\n0\r\n\r\n", 400),
    "13-chunk-without-end": (CHUNKED + b"3\r\nabc0\r\n\r\n", 400),
    "13-chunk-with-two-ends": (CHUNKED + b"3\r\nabc\r\n\r\n0\r\n\r\n", 400),
    "14-trailers-too-large": (CHUNKED + b"0\r\nX: " + b"y" * 40_000, 431),
    "14-many-trailers": (CHUNKED + b"0\r\n" + b"X: y\r\n" * 8_000, 431),
    "16-length-in-trailer": (CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n", 400),
    "16-coding-in-trailer": (CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "16-trailer-space-before-colon": (CHUNKED + b"0\r\nX : 1\r\n\r\n", 400),
    "16-trailer-without-colon": (CHUNKED + b"0\r\nX\r\n\r\n", 400),
    "16-trailer-without-name": (CHUNKED + b"0\r\n: 1\r\n\r\n", 400),
    "16-trailer-control": (CHUNKED + b"0\r\nX: \x01\r\n\r\n", 400),
    "16-trailer-nul": (CHUNKED + b"0\r\nX: a\x00\r\n\r\n", 400),
}

REFUSED = LENGTHS | CODINGS | LINES | CHUNKS


@pytest.mark.parametrize(("sent", "status"), REFUSED.values(), ids=REFUSED)
async def test_refused(world: World, sent: bytes, status: int) -> None:
    """15: whatever stands behind it is never looked at."""
    await is_refused(world, sent, status)


BAD_BODIES = {name: sent.removeprefix(CHUNKED) for name, (sent, _) in CHUNKS.items()}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_refused_in_a_body_under_way(world: World, body: bytes) -> None:
    """Its head has gone to the arm already: what goes there ends, and is no request."""
    world.human.handler = listener = Listener()
    async with world.client() as client:
        client.send(CHUNKED + b"2\r\nok\r\n")
        await until(lambda: listener.heard and listener.heard[0].endswith(b"2\r\nok\r\n"))
        client.send(body)
        assert (await client.read()).status in (400, 431)
        assert await client.reader.read() == b""
    await until(lambda: listener.ended == 1)
    assert len(listener.heard) == 1
    assert not listener.heard[0].endswith(b"0\r\n\r\n")


ACCEPTED = {
    "4-content-length-leading-zero": (HEAD + b"Content-Length: 03\r\n\r\nabc", b"abc"),
    "4-content-length-white-space-around": (HEAD + b"Content-Length:\t 3 \t\r\n\r\nabc", b"abc"),
    "5-chunked-in-another-case": (HEAD + b"Transfer-Encoding: ChunKed\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "5-chunked-white-space-around": (HEAD + b"Transfer-Encoding:\t chunked  \r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "11-chunk-size-capitals": (CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    "11-chunk-size-leading-zeros": (CHUNKED + b"0003\r\nabc\r\n000\r\n\r\n", b"abc"),
    "12-extension-name": (CHUNKED + b"3;a\r\nabc\r\n0;b\r\n\r\n", b"abc"),
    "12-extension-value": (CHUNKED + b"3;a=b\r\nabc\r\n0\r\n\r\n", b"abc"),
    "12-extension-quoted": (CHUNKED + b'3;a="b; \\" \xff"\r\nabc\r\n0\r\n\r\n', b"abc"),
    "12-extensions": (CHUNKED + b'3;a;b=c;d="e"\r\nabc\r\n0\r\n\r\n', b"abc"),
    "12-what-looks-like-one-in-the-data": (CHUNKED + b"6\r\n;=\r\n;;\r\n0\r\n\r\n", b";=\r\n;;"),
}


@pytest.mark.parametrize(("sent", "body"), ACCEPTED.values(), ids=ACCEPTED)
async def test_accepted_and_framed_anew(world: World, sent: bytes, body: bytes) -> None:
    async with world.client() as client:
        client.send(sent + HEAD + b"\r\n")
        assert [(await client.read()).status for _ in range(2)] == [200, 200]
    first, second = world.human.seen
    assert (first.body, first["content-length"], first["transfer-encoding"]) == (body, str(len(body)), None)
    assert second.body == b""


TRAILERS = {
    f"16-{name.lower()}-in-trailer": name
    for name in ("Host", "Authorization", "Cookie", "Connection", "Upgrade", "Expect", "X-User-Id", "X-Forwarded-For",
                 "X-Crossfade-Mode", "X_Crossfade_Mode", "Content_Length", "X-Any")
}  # fmt: skip


@pytest.mark.parametrize("name", TRAILERS.values(), ids=TRAILERS)
async def test_trailers_are_dropped(world: World, name: str) -> None:
    async with world.client() as client:
        client.send(CHUNKED + b"3\r\nabc\r\n0\r\n" + name.encode() + b": trailing\r\n\r\n")
        assert (await client.read()).status == 200
    assert b"trailing" not in world.human.seen[0].raw
    assert world.human.seen[0]["host"] == "a"


async def test_16_trailers_of_a_body_that_streams_are_dropped(world: World) -> None:
    world.human.handler = listener = Listener()
    async with world.client() as client:
        client.send(CHUNKED + b"2\r\nok\r\n")
        await until(lambda: listener.heard and listener.heard[0].endswith(b"2\r\nok\r\n"))
        client.send(b"0\r\nHost: b\r\nAuthorization: x\r\n\r\n")
        await until(lambda: listener.heard[0].endswith(b"0\r\n\r\n"))
    assert listener.heard[0].endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")


async def test_15_what_was_sent_before_a_bad_request_is_answered_first(world: World) -> None:
    async with world.client() as client:
        client.send(HEAD + b"Content-Length: 4\r\n\r\ngood" + REFUSED["9-folded"][0])
        assert (await client.read()).status == 200
        assert (await client.read()).status == 400
        assert await client.reader.read() == b""
    assert [seen.body for seen in world.human.seen] == [b"good"]
