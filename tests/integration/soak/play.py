"""The acts of `acts`, each a method of its name, on an upstream's connection."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final

from tests.integration.gateway.peers import Message, read_chunks
from tests.integration.soak.acts import ACTS, SMALL, Act, answer_body, request_body

PAUSE: Final = 0.02
"""Seconds between what goes out and the fault behind it: for the gateway these are two reads."""


class Play:
    """One request's connection, and what is done on it."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        arm: str,
        number: int,
        act: Act,
        head: Message,
        attempt: int,
    ) -> None:
        self.reader, self.writer, self.act, self.head, self.number = reader, writer, act, head, number
        self.said = [f"X-Number: {number}", f"X-By: {arm}", f"X-Mode: {head['x-crossfade-mode']}", f"X-Try: {attempt}"]
        self.silent = head.start.startswith("HEAD ")
        self.body = answer_body(number, arm, act)

    async def take_body(self) -> None:
        """What the client sent must be here, byte for byte."""
        if (self.head["transfer-encoding"] or "") == "chunked":
            body = await read_chunks(self.reader)
        else:
            body = await self.reader.readexactly(int(self.head["content-length"] or 0))
        assert body == request_body(self.number, int(self.head["x-size"] or 0)), f"{self.number}: another's body"

    async def through(self) -> bool:
        goes_on = await getattr(self, f"_{self.act.name}")()
        await self.writer.drain()
        return bool(goes_on)

    async def tunnel(self) -> bool:
        """Send back what comes, until the other side ends."""
        self._say(101, "Connection: Upgrade", "Upgrade: websocket")
        while data := await self.reader.read(1 << 16):
            self.writer.write(data)
            await self.writer.drain()
        return False

    # Parts of an answer

    def _say(self, status: int, *headers: str) -> None:
        lines = (f"HTTP/1.1 {status} Whatever", *self.said, *headers)
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")

    def _measured(self, status: int, *headers: str) -> None:
        self._say(status, f"Content-Length: {len(self.body)}", *headers)
        self._give(self.body)

    def _give(self, data: bytes) -> None:
        if not self.silent:
            self.writer.write(data)

    async def _pieces(self, data: bytes, size: int, pause: float) -> None:
        for start in range(0, len(data), size):
            self.writer.write(data[start : start + size])
            await self.writer.drain()
            await asyncio.sleep(pause)

    async def _chunks(self, pause: float) -> None:
        third = len(self.body) // 3 + 1
        for start in range(0, 0 if self.silent else len(self.body), third):
            piece = self.body[start : start + third]
            self.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(pause)
        self._give(b"0\r\n\r\n")

    async def _part(self, *framing: str) -> None:
        """The head and half of the body, and time to read them."""
        self._say(200, *(framing or (f"Content-Length: {len(self.body)}",)))
        half = self.body[: len(self.body) // 2]
        self.writer.write(b"%x\r\n%b\r\n" % (len(half), half) if framing else half)
        await self.writer.drain()
        await asyncio.sleep(PAUSE)

    def _break(self) -> bool:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        return False

    async def _end(self) -> bool:
        """Say no more, and listen until the other side has enough."""
        self.writer.write_eof()
        return await self._silence()

    async def _silence(self) -> bool:
        with suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass
        return False

    # Acts that are good

    async def _length(self) -> bool:
        self._measured(200)
        return True

    _large = _length

    async def _chunked(self) -> bool:
        self._say(200, "Transfer-Encoding: chunked")
        await self._chunks(0.0)
        return True

    async def _events(self) -> bool:
        self._say(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        await self._chunks(0.01)
        return True

    async def _until_close(self) -> bool:
        self._say(200, "Connection: close")
        self._give(self.body)
        return False

    async def _bytewise(self) -> bool:
        lines = ("HTTP/1.1 200 Whatever", *self.said, f"Content-Length: {len(self.body)}")
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        await self._pieces(head[:SMALL], 1, 0.001)
        await self._pieces(head[SMALL:] + (b"" if self.silent else self.body), 3, 0.001)
        return True

    async def _interim(self) -> bool:
        self.writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        await asyncio.sleep(0.005)
        self._measured(200)
        return True

    async def _close(self) -> bool:
        self._measured(200, "Connection: close")
        return False

    async def _then_close(self) -> bool:
        self._measured(200)
        await self.writer.drain()
        await asyncio.sleep(0.01)
        return False

    async def _extra(self) -> bool:
        lines = ("HTTP/1.1 200 Whatever", *self.said, f"Content-Length: {len(self.body)}")
        body = b"" if self.silent else self.body
        self.writer.write(
            "\r\n".join(lines).encode() + b"\r\n\r\n" + body + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        )
        return await self._silence()

    async def _stray(self) -> bool:
        self._measured(200)
        await self.writer.drain()
        await asyncio.sleep(PAUSE)
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        return await self._silence()

    async def _early(self) -> bool:
        self._measured(200)
        await self.writer.drain()
        await self.take_body()
        return True

    async def _no_content(self) -> bool:
        self._say(204)
        return True

    async def _not_modified(self) -> bool:
        self._say(304, "Content-Length: 1234", 'ETag: "x"')
        return True

    async def _missing(self) -> bool:
        self._measured(404)
        return True

    # Acts that are not

    async def _reset(self) -> bool:
        return self._break()

    async def _half_close(self) -> bool:
        return await self._end()

    async def _half_head(self) -> bool:
        self.writer.write(b"HTTP/1.1 200 OK\r\nX-Numb")
        return False

    async def _garbage(self) -> bool:
        self.writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is no HTTP\r\n\r\n")
        return await self._silence()

    async def _two_lengths(self) -> bool:
        self._say(200, "Content-Length: 5", "Content-Length: 6")
        self.writer.write(b"hello!")
        return await self._silence()

    async def _bad_coding(self) -> bool:
        self._say(200, "Transfer-Encoding: gzip, chunked")
        return await self._silence()

    async def _stall(self) -> bool:
        return await self._silence()

    async def _reset_within(self) -> bool:
        await self._part()
        return self._break()

    async def _half_close_within(self) -> bool:
        await self._part()
        return await self._end()

    async def _chunks_break_off(self) -> bool:
        await self._part("Transfer-Encoding: chunked")
        return await self._end()

    async def _garbage_within(self) -> bool:
        await self._part("Transfer-Encoding: chunked")
        self.writer.write(b"zz\r\nno size of a chunk\r\n")
        return await self._silence()

    async def _stall_within(self) -> bool:
        await self._part()
        return await self._silence()

    async def _early_then_reset(self) -> bool:
        self._measured(200, "Connection: close")
        return False

    async def _error(self) -> bool:
        self._measured(500)
        return True

    async def _unavailable(self) -> bool:
        self._measured(503)
        return True

    async def _escalate(self) -> bool:
        self._measured(200, "X-Crossfade-Escalate: a human should look")
        return True


assert not [name for name in ACTS if not hasattr(Play, f"_{name}")], "an act that cannot be played"
