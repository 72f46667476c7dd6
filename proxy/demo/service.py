"""The frame of the two bundled services: `POST /refunds`, `GET /healthz`, a latency of its own, an end on SIGTERM."""

import asyncio
import math
import signal
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import click
from aiohttp import web
from pydantic import ValidationError

from proxy.demo.refunds import RefundRequest

MAX_BODY: Final = 64 << 10
LOOPBACK: Final = "127.0.0.1"
LISTENING: Final = "listening on "
"""How the line begins that a service prints once it accepts connections; `host:port` follows."""

Answer = Callable[[web.Request, RefundRequest], Awaitable[web.Response]]


class Latency:
    """Log-normal times in seconds, as people and machines take them: 95 % lie between `low` and `high`."""

    def __init__(self, low: float, high: float, seed: int) -> None:
        self._mu = (math.log(low) + math.log(high)) / 2
        self._sigma = (math.log(high) - math.log(low)) / (2 * 1.96)
        self._ceiling = 4 * high
        self._random = Random(seed)

    def draw(self) -> float:
        return min(self._ceiling, self._random.lognormvariate(self._mu, self._sigma))

    async def pass_by(self) -> None:
        await asyncio.sleep(self.draw())


def application(answer: Answer) -> web.Application:
    """An application that gives every well-formed refund request to `answer`."""

    async def refunds(request: web.Request) -> web.Response:
        try:
            asked = RefundRequest.model_validate_json(await request.read())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            detail = f"{where}: {first['msg']}" if where else first["msg"]
            return web.json_response({"error": "bad_request", "detail": detail}, status=400)
        return await answer(request, asked)

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_post("/refunds", refunds)
    app.router.add_get("/healthz", healthz)
    return app


async def serve(app: web.Application, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM. Prints `listening on host:port`; raises OSError where the address is in use."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        click.echo(f"{LISTENING}{host}:{runner.addresses[0][1]}")
        await ended.wait()
    finally:
        await runner.cleanup()


def run(app: web.Application, host: str, port: int) -> None:
    """`serve` as a program: an address in use is one line and exit code 1."""
    try:
        asyncio.run(serve(app, host, port))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
