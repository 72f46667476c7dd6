"""Two requests never become three on any upstream connection, whoever reads there.

Each payload goes among honest requests to an upstream that only keeps the bytes. Those are then read three times: by a
strict reader, and by two that are as lenient as old servers are, each in its own way. All must see the same requests.
"""

import asyncio
import re
from collections.abc import Iterable

import pytest

from proxy.model.snapshot import BUCKETS
from tests.integration.gateway.conftest import SHADOW_ALL, World, until
from tests.integration.gateway.http import test_framing, test_request_line
from tests.integration.gateway.http.cases import HEAD
from tests.integration.gateway.http.test_forwarding import HIDDEN, UPGRADE
from tests.integration.gateway.peers import ScriptedUpstream, connect, read_message, request

Seen = list[tuple[str, bytes]]
"""Requests as one reader sees them: first line and body."""


def strictly(stream: bytes) -> Seen:
    """RFC 9112 and no more; what is not that fails the test."""
    seen: Seen = []
    while stream:
        head, end, stream = stream.partition(b"\r\n\r\n")
        assert end
        assert re.fullmatch(rb"[A-Z]+ [!-~]+ HTTP/1\.1(\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*)+", head), (
            head
        )
        fields = head.lower().split(b"\r\n")[1:]
        lengths = [int(field[16:]) for field in fields if field.startswith(b"content-length: ")]
        codings = [field for field in fields if field.startswith(b"transfer-encoding:")]
        assert len(lengths) + len(codings) <= 1
        assert codings in ([], [b"transfer-encoding: chunked"])
        assert sum(field.startswith(b"host: ") for field in fields) == 1
        body = b""
        if codings:
            while (size := int(re.match(rb"[0-9a-f]+(?=\r\n)", stream)[0], 16)) > 0:  # type: ignore[index]
                _, _, stream = stream.partition(b"\r\n")
                body, stream = body + stream[:size], stream[size:]
                assert stream.startswith(b"\r\n")
                stream = stream[2:]
            assert stream.startswith(b"0\r\n\r\n")
            stream = stream[5:]
        elif lengths:
            assert len(stream) >= lengths[0]
            body, stream = stream[: lengths[0]], stream[lengths[0] :]
        seen.append((head.split(b"\r\n")[0].decode("latin-1"), body))
    return seen


def leniently(stream: bytes, *, length_wins: bool) -> Seen:
    """As old servers read: bare LF ends lines, names may have spaces around and underscores for hyphens, lines fold, of
    several lengths the first counts, or the last; a coding counts where it holds `chunked`, and `length_wins` over it
    or not; chunk sizes may have all that stands behind a hexadecimal number."""
    seen: Seen = []
    lines = Lines(stream)
    while (first := lines.next()) is not None:
        if not first.strip():
            continue
        fields: list[tuple[bytes, bytes]] = []
        while (line := lines.next()) is not None and line.strip(b"\r"):
            if line[:1] in b" \t" and fields:
                fields[-1] = (fields[-1][0], fields[-1][1] + line.strip())
            else:
                name, _, value = line.partition(b":")
                fields.append((name.strip().lower().replace(b"_", b"-"), value.strip()))
        lengths = [value for name, value in fields if name == b"content-length"]
        chunked = any(name == b"transfer-encoding" and b"chunked" in value.lower() for name, value in fields)
        body = b""
        if chunked and not (length_wins and lengths):
            while size := _number((lines.next() or b"").strip(), rb"(?:0x)?[0-9a-f]+", 16):
                body += lines.take(size)
                lines.next()
            while (lines.next() or b"").strip():
                pass
        elif lengths:
            body = lines.take(_number(lengths[0 if length_wins else -1], rb"\+?[0-9]+", 10))
        seen.append((first.strip().decode("latin-1"), body))
    return seen


class Lines:
    """A stream that is taken by lines and by bytes."""

    def __init__(self, stream: bytes) -> None:
        self._left = stream

    def next(self) -> bytes | None:
        if not self._left:
            return None
        line, _, self._left = self._left.partition(b"\n")
        return line

    def take(self, size: int) -> bytes:
        taken, self._left = self._left[:size], self._left[size:]
        return taken


def _number(text: bytes, pattern: bytes, base: int) -> int:
    found = re.match(pattern, text.lower())
    return int(found[0], base) if found is not None else 0


IN_BODIES = {
    "in-a-body": HEAD + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "in-a-chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN),
    "in-a-body-of-get": b"GET /refunds HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "in-a-body-of-h2c": HEAD + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "in-a-body-of-expect": HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "in-a-body-of-nominated-length": (
        HEAD + b"Connection: content-length\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN
    ),
}
"""A request that is the body of another, and no request."""

PAYLOADS = IN_BODIES | {
    **{name: sent for name, (sent, _) in (test_framing.REFUSED | test_request_line.REFUSED).items()},
    **{name: sent for name, (sent, _) in test_framing.ACCEPTED.items()},
    **{name: sent for name, (sent, *_) in test_request_line.LINES.items()},
    "behind-a-get": b"GET /refunds HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
    "behind-a-length-with-underscore": HEAD + b"Content_Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "behind-a-coding-with-underscore": (
        HEAD + b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN
    ),
    "behind-a-nominated-coding": (
        HEAD + b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN
    ),
    "behind-a-length-in-a-trailer": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent_Length: 40\r\n\r\n" + HIDDEN
    ),
    "behind-a-length-in-connection": HEAD + b"Connection: keep-alive, content-length: 40\r\n\r\n" + HIDDEN,
    "behind-a-length-in-a-value": HEAD + b"X: \x85Content-Length: 40\xa0\r\n\r\n" + HIDDEN,
    "behind-a-length-in-a-target": b"GET /refunds%0d%0aContent-Length:%2040%0d%0a HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
}


@pytest.mark.parametrize(
    "name",
    [
        "1-length-then-coding",
        "2-two-lengths",
        "1-coding-then-length",
        "behind-a-coding-with-underscore",
    ],
)
def test_these_readers_do_differ(name: str) -> None:
    """Over what clients send, or the tests below would find nothing."""
    one, other = (leniently(PAYLOADS[name], length_wins=wins) for wins in (False, True))
    assert one != other


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
async def test_every_reader_sees_the_requests_that_we_saw(world: World, payload: bytes) -> None:
    for upstream in (world.human, world.agent):
        upstream.handler = Keeper(upstream)
    # The agent gets a copy of each request first, then the requests themselves.
    for weight in (0, BUCKETS):
        world.use(weight=weight, shadow=SHADOW_ALL)
        await converse(
            world.port, [request(body=b"before", X_User_Id="u"), payload, request(body=b"behind", X_User_Id="u")]
        )
    await until(lambda: not any(upstream.active for upstream in world.worker.shared.table.upstreams.values()))
    for upstream in (world.human, world.agent):
        keeper = upstream.handler
        assert isinstance(keeper, Keeper)
        streams = [bytes(stream) for stream in keeper.streams if stream]
        seen = [(message.start, message.body) for message in upstream.seen]
        assert sorted(all_of(strictly(stream) for stream in streams)) == sorted(seen)
        for length_wins in (False, True):
            assert sorted(all_of(leniently(stream, length_wins=length_wins) for stream in streams)) == sorted(seen)
        if payload in IN_BODIES.values():
            assert not any("hidden" in start for start, _ in seen)


def all_of(parts: Iterable[Seen]) -> Seen:
    return [one for part in parts for one in part]


async def converse(port: int, sent: list[bytes]) -> None:
    """Say it all at once, and hear what comes."""
    async with connect(port) as client:
        client.send(b"".join(sent))
        client.writer.write_eof()
        async with asyncio.timeout(5):
            try:
                while await client.reader.read(65536):
                    pass
            except ConnectionError:
                pass


class Keeper:
    """Answers like any upstream, by the strict reader of the tests, and keeps the bytes of each connection."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.upstream = upstream
        self.streams: list[bytearray] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = bytearray()
        self.streams.append(stream)
        inner = asyncio.StreamReader()

        async def pump() -> None:
            while data := await reader.read(65536):
                stream.extend(data)
                inner.feed_data(data)
            inner.feed_eof()

        pumping = asyncio.ensure_future(pump())  # noqa: TID251  # awaited below
        while (message := await read_message(inner)) is not None:
            self.upstream.note(message)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await pumping


async def test_two_never_become_three(world: World) -> None:
    """All payloads, twice over, on connections that are used again and again: the upstreams see what was counted."""
    keepers = [Keeper(world.human), Keeper(world.agent)]
    world.human.handler, world.agent.handler = keepers
    world.use(shadow=SHADOW_ALL)
    honest = 0
    for payload in [*PAYLOADS.values()] * 2:
        for part in (request("GET", f"/plain/honest/{honest}", b""), payload):
            await converse(world.port, [part])
        honest += 1
    served = sum(count for labels, count in world.counts("requests_total").items() if labels[1] == "legacy")
    assert len(world.human.seen) == served
    targets = [seen.target for seen in world.human.seen if "honest" in seen.target]
    assert targets == [f"/plain/honest/{number}" for number in range(honest)]
    await until(lambda: len(world.agent.seen) == world.fates().get("mirrored"))
    assert world.human.connections < 20, "its connections were used again"
    for keeper in keepers:
        for stream in keeper.streams:
            assert leniently(bytes(stream), length_wins=True) == strictly(bytes(stream))
