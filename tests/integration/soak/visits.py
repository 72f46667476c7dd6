"""Clients on raw sockets: each makes its visit, and what came back is kept."""

import asyncio
import contextlib
import socket
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

from tests.integration.gateway.peers import Message, read_chunks
from tests.integration.soak.plan import Ask, Visit

PATIENCE: Final = 15.0
"""Seconds for an answer: more than all time-outs together."""
FRAMES: Final = (b"hello", b"\x81\x85\x00\x00\x00\x00", bytes(70_000), b"bye")
MALFORMED: Final = (
    b"POST /refunds HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)


@dataclass(slots=True)
class Outcome:
    """What became of one request that was begun. `answer` is the whole answer, `cut` says how the connection broke off
    before its end; neither: the client left. `interims` are the statuses before it."""

    ask: Ask
    answer: Message | None = None
    cut: str = ""
    interims: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Ledger:
    """What all clients saw. `refused` counts by the error's word what the gateway did not take as a request; `wrong` is
    what must never happen."""

    outcomes: list[Outcome] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    frames: int = 0

    def refuse(self, word: str) -> None:
        self.refused[word] = self.refused.get(word, 0) + 1


class CutError(Exception):
    """The connection broke off before the answer's end."""


class Visitor:
    """One connection. `came` is set, by number, where an upstream has that request."""

    def __init__(self, port: int, ledger: Ledger, came: defaultdict[int, asyncio.Event]) -> None:
        self._port, self._ledger, self._came = port, ledger, came

    async def make(self, visit: Visit) -> None:
        try:
            async with asyncio.timeout(PATIENCE * len(visit.asks)):
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
                await getattr(self, f"_{visit.kind}")(visit)
        except (TimeoutError, ConnectionError, AssertionError, asyncio.IncompleteReadError) as error:
            self._ledger.wrong.append(f"{visit.kind} of {[ask.number for ask in visit.asks]}: {error!r}")
        finally:
            self._writer.close()

    # The kinds of visits

    async def _ask(self, visit: Visit) -> None:
        """One request after the other."""
        for ask in visit.asks:
            await self._send(ask)
            if not await self._outcome(ask):
                return
        await self._nothing_more()

    async def _pipeline(self, visit: Visit) -> None:
        self._writer.write(b"".join(piece for ask in visit.asks for piece in ask.pieces()))
        for ask in visit.asks:
            if not await self._outcome(ask):
                return
        await self._nothing_more()

    async def _half_close(self, visit: Visit) -> None:
        (ask,) = visit.asks
        await self._send(ask)
        self._writer.write_eof()
        if await self._outcome(ask):
            assert await self._reader.read() == b"", "more than the answer"

    async def _old(self, visit: Visit) -> None:
        """HTTP/1.0: the answer may go on to the end of the connection."""
        (ask,) = visit.asks
        await self._send(ask)
        assert not await self._outcome(ask), "HTTP/1.0 was not asked to keep the connection"

    async def _leave(self, visit: Visit) -> None:
        """Before the answer is there, or just then."""
        (ask,) = visit.asks
        self._ledger.outcomes.append(Outcome(ask))
        await self._send(ask)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._came[ask.number].wait(), 2.0)
        await asyncio.sleep(visit.patience)
        if visit.rudely:
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()

    async def _tunnel(self, visit: Visit) -> None:
        (ask,) = visit.asks
        await self._send(ask)
        outcome = Outcome(ask)
        try:
            outcome.answer = await self._take(outcome)
        except CutError as error:
            outcome.cut = str(error)
        self._ledger.outcomes.append(outcome)
        if outcome.answer is None or outcome.answer.status != 101:
            return
        for frame in FRAMES:
            self._writer.write(frame)
            assert await self._reader.readexactly(len(frame)) == frame, "another frame"
            self._ledger.frames += 1
        self._writer.write_eof()
        assert await self._reader.read() == b""

    async def _malformed(self, _visit: Visit) -> None:
        self._writer.write(MALFORMED)
        await self._refused(400)

    async def _nowhere(self, visit: Visit) -> None:
        self._writer.write(b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await self._refused(404)

    async def _slow_head(self, _visit: Visit) -> None:
        self._writer.write(b"GET /refunds HTTP/1.1\r\nHost: a\r\nX-User")
        await self._refused(408)

    async def _slow_body(self, visit: Visit) -> None:
        (ask,) = visit.asks
        self._writer.write(b"".join(ask.pieces()[:3]))
        outcome = Outcome(ask)
        outcome.answer = await self._take(outcome)
        self._ledger.outcomes.append(outcome)
        if outcome.answer.status == 408:
            self._ledger.refuse("request_timeout")

    # Their parts

    async def _send(self, ask: Ask) -> None:
        for piece in ask.pieces():
            self._writer.write(piece)
            if ask.chunked and ask.number % 2:
                await asyncio.sleep(0.001)  # each a read of its own

    async def _outcome(self, ask: Ask) -> bool:
        """Take the answer. Whether the connection goes on."""
        outcome = Outcome(ask)
        self._ledger.outcomes.append(outcome)
        try:
            outcome.answer = answer = await self._take(outcome)
        except CutError as error:
            outcome.cut = str(error)
            return False
        if ask.old or answer["connection"] == "close":
            assert await self._reader.read() == b"", "more than the answer"
            return False
        return True

    async def _take(self, outcome: Outcome) -> Message:
        try:
            while True:
                answer = await self._message(silent=outcome.ask.method == "HEAD")
                if answer.status >= 200 or answer.status == 101:
                    return answer
                outcome.interims.append(answer.status)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise CutError(repr(error)) from error

    async def _message(self, *, silent: bool) -> Message:
        head = await self._reader.readuntil(b"\r\n\r\n")
        start, *lines = head[:-4].decode("latin-1").split("\r\n")
        message = Message(
            start, [(name.lower(), value.strip()) for name, _, value in (x.partition(":") for x in lines)]
        )
        if silent or message.status < 200 or message.status in (204, 304):
            return message
        if message["transfer-encoding"] is not None:
            message.body = await read_chunks(self._reader)
        elif message["content-length"] is not None:
            message.body = await self._reader.readexactly(int(message["content-length"] or 0))
        else:
            message.body = await self._reader.read()
        return message

    async def _refused(self, status: int) -> None:
        message = await self._message(silent=False)
        assert message.status == status, f"{message.start} instead of {status}"
        assert message["connection"] == "close"
        assert await self._reader.read() == b""
        self._ledger.refuse({400: "bad_request", 404: "no_route", 408: "request_timeout"}[status])

    async def _nothing_more(self) -> None:
        """Whoever ends its side after its answers hears nothing more."""
        self._writer.write_eof()
        assert await self._reader.read() == b"", "more than the answers"
