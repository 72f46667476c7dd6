"""What the tables of cases are run with: a head to begin with, a refusal and all that must hold with it."""

import asyncio

import orjson

from proxy.model.snapshot import BUCKETS
from tests.integration.gateway.conftest import SHADOW_ALL, World
from tests.integration.gateway.peers import request

HEAD = b"POST /refunds HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BEHIND = request("GET", "/plain/behind", b"")
"""A request that comes behind what is refused, and is never looked at."""

Cases = dict[str, tuple[bytes, int]]
"""What is sent, and the status that comes back. A case is named after the number of its rule and what is special."""


async def is_refused(world: World, sent: bytes, status: int) -> None:
    """Once with a copy of each request for the agent, once with every request served by it: one answer of ours, then
    the connection's end; and neither arm was even dialled."""
    for weight in (0, BUCKETS):
        world.use(weight=weight, shadow=SHADOW_ALL)
        async with world.client() as client:
            client.send(sent + BEHIND)
            said = await client.read()
            assert said.status == status
            document = orjson.loads(said.body)
            assert set(document) == {"error", "detail", "request_id"}
            assert document["request_id"] == said["x-request-id"]
            assert said["connection"] == "close"
            assert await client.reader.read() == b""
    assert (world.human.connections, world.agent.connections) == (0, 0)
    assert sum(world.counts("refused_total").values()) == 2


class Listener:
    """An upstream's handler that keeps every byte of each connection and answers nothing."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.ended = 0

    async def __call__(self, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        place = len(self.heard)
        self.heard.append(b"")
        try:
            while data := await reader.read(65536):
                self.heard[place] += data
        finally:
            self.ended += 1
