"""A plain reverse proxy on aiohttp's server and client, as a peer.

Started as `python -m benchmarks.load.aiohttp_proxy PORT LEGACY AGENT`, all of them ports.

What one would write in an afternoon: a handler for each case, bodies read whole, copies sent by background tasks.
"""

import asyncio
import sys
import zlib

import uvloop
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}


class Proxy:
    def __init__(self, session: ClientSession, legacy: int, agent: int) -> None:
        self._session = session
        self._legacy = f"http://127.0.0.1:{legacy}"
        self._agent = f"http://127.0.0.1:{agent}"
        self._copies: set[asyncio.Task[web.Response]] = set()

    async def plain(self, request: web.Request) -> web.Response:
        return await self._forward(self._legacy, request, await request.read())

    async def split(self, request: web.Request) -> web.Response:
        bucket = zlib.crc32(request.headers.get("x-user-id", "").encode()) % 100
        return await self._forward(self._agent if bucket < 10 else self._legacy, request, await request.read())

    async def mirror(self, request: web.Request) -> web.Response:
        body = await request.read()
        copy = asyncio.get_running_loop().create_task(self._forward(self._agent, request, body))
        self._copies.add(copy)
        copy.add_done_callback(self._copies.discard)
        return await self._forward(self._legacy, request, body)

    async def _forward(self, upstream: str, request: web.Request, body: bytes) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        headers["X-Forwarded-For"] = request.remote or ""
        url = upstream + request.path_qs
        try:
            async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
                content = await answer.read()
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
                return web.Response(status=answer.status, headers=kept, body=content)
        except (ClientError, TimeoutError):
            return web.Response(status=502)


async def serve(port: int, legacy: int, agent: int) -> None:
    connector = TCPConnector(limit=0, keepalive_timeout=60)
    async with ClientSession(connector=connector, timeout=ClientTimeout(60), auto_decompress=False) as session:
        proxy = Proxy(session, legacy, agent)
        app = web.Application()
        for prefix, handler in (("plain", proxy.plain), ("split", proxy.split), ("mirror", proxy.mirror)):
            app.router.add_route("*", f"/{prefix}/{{rest:.*}}", handler)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(*map(int, sys.argv[1:4])))
