"""The admin API as one aiohttp application, and its start on an address."""

import logging
import os
from collections.abc import Collection
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from proxy.admin.api import Api
from proxy.admin.auth import Tokens
from proxy.admin.bodies import MAX_BODY
from proxy.admin.erasure import Erasures
from proxy.admin.escalations import EscalationApi
from proxy.admin.health import Health
from proxy.admin.outcomes import Outcomes
from proxy.admin.pairs import PairsApi
from proxy.admin.shield import is_loopback, shield
from proxy.admin.traces import Traces
from proxy.model.errors import ConfigError
from proxy.model.ports import DecisionTaker, HistoryReader, Operations, PairReader, PersonEraser, SpanTaker, StepReader
from proxy.telemetry.clock import SystemClock
from proxy.telemetry.metrics import Metrics

_OPEN: Final = web.AppKey("open", bool)
_KEEP_ALIVE: Final = 75.0


def create_app(
    operations: Operations,
    pairs: PairReader,
    metrics: Metrics,
    history: HistoryReader,
    *,
    tokens: Tokens | None = None,
    allowed_hosts: Collection[str] = (),
    decisions: DecisionTaker | None = None,
    escalations: EscalationApi | None = None,
    steps: StepReader | None = None,
    spans: SpanTaker | None = None,
    eraser: PersonEraser | None = None,
) -> web.Application:
    """`allowed_hosts` are names (no port) by which the API may be addressed beside those of the loopback; they matter
    only without `tokens`."""
    app = web.Application(middlewares=shield(tokens, allowed_hosts), client_max_size=MAX_BODY)
    app[_OPEN] = tokens is None
    Health(operations, metrics).add_to(app.router)
    Api(operations, history).add_to(app.router)
    PairsApi(operations, pairs, SystemClock(), steps).add_to(app.router)
    if decisions is not None:
        Outcomes(decisions).add_to(app.router)
    if escalations is not None:
        escalations.add_to(app.router)
    if eraser is not None:
        Erasures(eraser).add_to(app.router)
    if spans is not None:
        Traces(spans).add_to(app.router)
    return app


async def start(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Listen on host and port (0 picks a free one; `runner.addresses` tells). `runner.cleanup()` ends it.

    Raises ConfigError where the address cannot be had, or leaves this machine while the API is open to everyone.
    """
    if app[_OPEN] and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines, and there are no tokens; set admin.tokens_file or listen on"
            " 127.0.0.1",
            path="admin.address",
        )
    runner = web.AppRunner(
        app,
        handle_signals=False,
        shutdown_timeout=2.0,
        access_log=None,
        logger=_server_log(),
        keepalive_timeout=_KEEP_ALIVE,
        auto_decompress=False,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        # uvloop and asyncio put their own sentence into strerror; the number's is short
        problem = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
        raise ConfigError(f"cannot listen on {host}:{port}: {problem}", path="admin.address") from error
    return runner


def _server_log() -> logging.Logger:
    """aiohttp's own log. Garbage on the socket is the sender's fault and worth a line, not a stack at level error."""

    def shorten(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg, record.args, record.exc_info = f"no HTTP: {error.message.splitlines()[0]}", None, None
        return True

    logger = logging.getLogger("proxy.admin.server")
    if not logger.filters:
        logger.addFilter(shorten)
    return logger
