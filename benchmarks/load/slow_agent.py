"""An agent that answers each request after 200 ms: `python -m benchmarks.load.slow_agent PORT`.

It holds any number of requests at once, cheaply, since it shares the load's core.
"""

import asyncio
import sys
from typing import cast

import httptools
import uvloop

DELAY = 0.2
_BODY = (
    b'{"decision":"approve","amount":129.9,"currency":"EUR","confidence":0.93,"reason":"Thought about it for long."}'
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
ANSWER = _HEAD % len(_BODY) + _BODY


class SlowAgent(asyncio.Protocol):
    requests = 0

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._status = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by behaviour, not by class

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._status = url == b"/status"

    def on_message_complete(self) -> None:
        SlowAgent.requests += 1
        if self._status:
            count = b"server accepts handled requests\n 0 0 %d\n" % SlowAgent.requests
            self._transport.write(_HEAD % len(count) + count)
        else:
            asyncio.get_running_loop().call_later(DELAY, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(SlowAgent, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
