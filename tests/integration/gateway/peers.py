"""The two ends of a gateway under test, as raw as they come: a scripted upstream and a client on a socket."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PATIENCE = 5.0
"""Seconds that a peer waits for the other before the test fails."""


@dataclass(slots=True)
class Message:
    """A request or an answer as it came over the wire. Header names are lower case; chunked bodies are decoded."""

    start: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    raw: bytes = b""

    def __getitem__(self, name: str) -> str | None:
        return next((value for given, value in self.headers if given == name), None)

    @property
    def status(self) -> int:
        return int(self.start.split()[1])

    @property
    def target(self) -> str:
        return self.start.split()[1]


async def read_message(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Message | None:
    """The next message, or None where the peer closed before its first byte."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise AssertionError(f"half a head: {error.partial!r}") from error
        return None
    start, *lines = head[:-4].decode("latin-1").split("\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    message = Message(start, headers, raw=head)
    if bodiless:
        return message
    if (message["transfer-encoding"] or "").lower() == "chunked":
        message.body = await read_chunks(reader)
    elif message["content-length"] is not None:
        message.body = await reader.readexactly(int(message["content-length"] or 0))
    elif start.startswith("HTTP/") and message.status not in (204, 304) and message.status >= 200:
        message.body = await reader.read()
    return message


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readuntil(b"\r\n") == b"\r\n"
    return body


def answer(body: bytes = b"{}", status: int = 200, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


Answerer = Callable[[Message], bytes | Awaitable[bytes]]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class ScriptedUpstream:
    """Answers each request with what `answers` says; or hands whole connections to `handler`. Remembers `seen`. With a
    `context` it speaks TLS, from its next `start` on."""

    answers: Answerer = lambda _request: answer()
    handler: Handler | None = None
    context: ssl.SSLContext | None = None
    seen: list[Message] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self.port, limit=1 << 20, ssl=self.context
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and reset what is open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_for(self, count: int) -> list[Message]:
        """The requests, as soon as `count` of them came."""
        async with asyncio.timeout(PATIENCE):
            while len(self.seen) < count:
                self._came.clear()
                await self._came.wait()
        return self.seen

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await (self.handler or self._converse)(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_message(reader)) is not None:
            self.note(request)
            said = self.answers(request)
            writer.write(said if isinstance(said, bytes) else await said)
            await writer.drain()

    def note(self, request: Message) -> None:
        self.seen.append(request)
        self._came.set()


class Client:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read(self, *, bodiless: bool = False) -> Message:
        async with asyncio.timeout(PATIENCE):
            message = await read_message(self.reader, bodiless=bodiless)
        assert message is not None, "the connection was closed instead of an answer"
        return message

    async def ask(self, method: str = "POST", target: str = "/refunds", body: bytes = b"{}", **headers: str) -> Message:
        self.send(request(method, target, body, **headers))
        return await self.read(bodiless=method == "HEAD")

    def reset(self) -> None:
        """Leave so that the gateway sees it: closing alone looks like a client that has said all and listens on."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def closed(self) -> bool:
        """Whether the gateway closes the connection without another byte."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


def request(method: str = "POST", target: str = "/refunds", body: bytes = b"{}", **headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: shop.example"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@asynccontextmanager
async def connect(
    port: int, limit: int = 1 << 22, context: ssl.SSLContext | None = None, name: str = "gateway.example"
) -> AsyncIterator[Client]:
    """`limit`: bytes that the client takes in by itself (twice that), besides what it is asked to read. With a
    `context` it speaks TLS with the host `name`."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, limit=limit, ssl=context, server_hostname=name if context is not None else None
    )
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
