"""`POST /v1/traces`: OTLP/HTTP, from agents' own OpenTelemetry.

Protobuf or JSON, also packed by gzip; the answer is in the encoding of the request. 200 says how many spans were
rejected, one by one, and why (`partial_success`); these are not to be sent again, and neither is a request that is
answered 400, 401, 403, 413 or 415. 429 and 503 are to be sent again, after `Retry-After`: then nothing of it is lost,
and what was kept already is kept once.

With tokens it takes an agent's or an operator's. An agent's token may do nothing else: neither read what it is compared
with, nor say what a human decided.
"""

import asyncio
import hashlib
from typing import Final

from aiohttp import web

from proxy.admin.answers import ApiError
from proxy.admin.shield import TRACES
from proxy.model.ports import SpanTaker
from proxy.model.spans import Span
from proxy.telemetry import otlp
from proxy.telemetry.otlp import Malformed, OtlpError

MAX_PACKED: Final = 4 << 20
"""Bytes of a body that is packed; one that is not may have otlp.MAX_UNPACKED."""
MAX_UNDER_WAY: Final = 4
"""Requests at the same time."""
SLICE_SECONDS: Final = 0.005
"""After so long at a time the loop gets its turn."""


class Traces:
    def __init__(self, spans: SpanTaker) -> None:
        self._spans = spans
        self._under_way = 0
        self._reading = asyncio.Lock()  # what is read takes many times its size

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/traces", self.take, name=TRACES)

    async def take(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if self._under_way >= MAX_UNDER_WAY:
            raise ApiError(429, "busy", "too many requests at a time; send it again", headers={"retry-after": "1"})
        self._under_way += 1
        try:
            rejected, problem = await self._take(body, request)
        except OtlpError as error:
            status, word = (413, "body_too_large") if error.too_large else (400, "not_otlp")
            raise ApiError(status, word, str(error), message=str(error)) from error
        finally:
            self._under_way -= 1
        answer = otlp.response(request.content_type, rejected, problem)
        return web.Response(body=answer, content_type=request.content_type)

    async def _take(self, body: bytes, request: web.Request) -> tuple[int, str]:
        """How many spans are rejected, and why."""
        packed = request.headers.get("content-encoding", "identity").lower() == "gzip"
        data = otlp.unpack(body) if packed else body
        async with self._reading:
            spans, malformed, problems = await _read(data, request.content_type)
        headers = {"content-type": request.content_type} | ({"content-encoding": "gzip"} if packed else {})
        if spans:
            digest = hashlib.blake2b(data, digest_size=16).digest()
            self._spans.forward(body, digest, headers, len(spans) + malformed)
        beyond = await self._spans.take(spans, malformed)
        if beyond:
            problems.append(f"{beyond} belong to traces that have as many spans as one may have")
        return malformed + beyond, "; ".join(problems)


async def _read(data: bytes, content_type: str) -> tuple[list[Span], int, list[str]]:
    """The spans, the number of those that are malformed, and what is wrong with them, each problem once."""
    spans: list[Span] = []
    malformed = 0
    problems: dict[str, None] = {}
    loop = asyncio.get_running_loop()
    turn = loop.time()
    for span in otlp.read(data, content_type):
        if isinstance(span, Malformed):
            malformed += span.spans
            if len(problems) < 5:
                problems[span.problem] = None
        else:
            spans.append(span)
        if loop.time() - turn > SLICE_SECONDS:
            await asyncio.sleep(0)
            turn = loop.time()
    return spans, malformed, list(problems)


async def _body(request: web.Request) -> bytes:
    """As it came. Raises ApiError where it is too large, or not whole. (aiohttp's own bound is the other routes'.)"""
    packed = "content-encoding" in request.headers
    most = MAX_PACKED if packed else otlp.MAX_UNPACKED
    body = bytearray()
    try:
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > most:
                problem = f"the body is larger than {most >> 20} MiB; export smaller batches"
                raise ApiError(413, "body_too_large", problem, message=problem)
    except (ConnectionResetError, web.RequestPayloadError) as error:
        raise ApiError(400, "bad_request", "the body did not arrive whole") from error
    return bytes(body)
