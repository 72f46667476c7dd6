"""Pairs: one by one, page by page, and all of a route as JSON Lines.

    GET routes/{route}/pairs         {pairs: [pair], next: cursor}, newest first; query: verdict, before (a cursor),
                                     limit, reveal
    GET pairs/{id}                   a pair: {id, request_id, route, version, stage, at, arm, mode, verdict,
                                     differences, legacy, agent, ...}, with the `steps` of its agent and what they come
                                     to, `step_totals`; query: reveal
    GET routes/{route}/pairs/export  a line of JSON for each pair, in the order in which they were kept, up to the
                                     newest one when it was asked for; query: since (a duration such as 7d, or a time
                                     in RFC 3339), after (the id of a pair), verdict, steps, reveal

The rules: of a pair whose human has not decided yet nothing of the agent is shown (`hiding`), unless an operator asks
with `reveal=true`, which is logged. An export holds a page in memory, waits for who reads it, and ends as it began: one
that breaks off, because the store went away, does not look whole.

An export tells its span in `x-crossfade-first` and `x-crossfade-last`: ids of pairs, whose first part is when they were
kept, in milliseconds.
"""

import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, Final

import orjson
import structlog
from aiohttp import web
from pydantic import Field

from proxy.admin.answers import ApiError, answer
from proxy.admin.auth import Role
from proxy.admin.bodies import Checked, PairsQuery, read_query
from proxy.admin.hiding import hidden, is_open
from proxy.admin.shield import CALLER, own_headers
from proxy.config.units import UnfitError, parse_duration
from proxy.model.clock import Clock
from proxy.model.errors import StoreError
from proxy.model.ports import Operations, PairReader, StepReader
from proxy.model.words import Match

_log = structlog.get_logger()

MAX_EXPORTS: Final = 4
"""Exports that may run at the same time: each takes its share of the control process's time."""
FIRST: Final = "x-crossfade-first"
LAST: Final = "x-crossfade-last"

_PLACE: Final = re.compile(r"(?P<route>[a-z0-9_-]{1,64})\.(?P<place>\d{1,20}-\d{1,20})")

Show = Callable[[dict[str, Any]], dict[str, Any]]


class RevealQuery(Checked):
    reveal: bool = False


class ExportQuery(RevealQuery):
    since: str | None = Field(default=None, max_length=64)
    after: str | None = Field(default=None, max_length=128)
    verdict: Match | None = None
    steps: bool = False


class PairsApi:
    def __init__(
        self, operations: Operations, pairs: PairReader, clock: Clock, steps: StepReader | None = None
    ) -> None:
        self._operations, self._pairs, self._clock, self._steps = operations, pairs, clock, steps
        self._exports = 0

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/routes/{route}/pairs", self.page)
        router.add_get("/api/v1/routes/{route}/pairs/export", self.export)
        router.add_get("/api/v1/pairs/{pair}", self.pair)

    async def page(self, request: web.Request) -> web.Response:
        route = self._known(request)
        query = read_query(request.query, PairsQuery)
        show = _shown(request, reveal=query.reveal, of=route)
        verdict = query.verdict.value if query.verdict else None
        try:
            found, following = await self._pairs.pairs(route, verdict=verdict, before=query.before, limit=query.limit)
        except ValueError as error:  # a cursor that no answer of ours gave
            raise ApiError(422, "invalid_query", f"before: {error}", path="before") from error
        return answer({"pairs": [show(pair) for pair in found], "next": following})

    async def pair(self, request: web.Request) -> web.Response:
        pair_id = request.match_info["pair"]
        query = read_query(request.query, RevealQuery)
        show = _shown(request, reveal=query.reveal, of=pair_id)
        document = await self._pairs.pair(pair_id)
        if document is None:
            raise ApiError(404, "no_pair", f"no pair {pair_id!r} is kept")
        return answer(show(await self._with_steps(document, reveal=query.reveal)))

    async def export(self, request: web.Request) -> web.StreamResponse:
        route = self._known(request)
        query = read_query(request.query, ExportQuery)
        show = _shown(request, reveal=query.reveal, of=route)
        since, after = self._since(query.since), _after(query.after, route)
        if self._exports >= MAX_EXPORTS:
            detail = f"{MAX_EXPORTS} exports are running; try again when one of them is done"
            raise ApiError(429, "too_many_exports", detail, headers={"retry-after": "10"})
        self._exports += 1
        try:
            ends = await self._pairs.span(route, since)
            start = _start(after, ends[0]) if ends else ""
            headers = {**own_headers(request), "content-type": "application/x-ndjson"}
            if ends:
                headers |= {FIRST: f"{route}.{start}", LAST: f"{route}.{ends[1]}"}
            response = web.StreamResponse(headers=headers)
            await response.prepare(request)
            if ends:
                pages = self._pages(route, start, ends[1], query)
                await _stream(request, response, pages, show)
            return response
        finally:
            self._exports -= 1

    async def _pages(
        self, route: str, start: str, until: str, query: ExportQuery
    ) -> AsyncIterator[list[dict[str, Any]]]:
        cursor: str | None = start
        verdict = query.verdict.value if query.verdict else None
        while cursor is not None:
            found, cursor = await self._pairs.following(route, after=cursor, until=until, verdict=verdict)
            if query.steps:
                found = [await self._with_steps(pair, reveal=query.reveal) for pair in found]
            yield found

    async def _with_steps(self, pair: dict[str, Any], *, reveal: bool) -> dict[str, Any]:
        trace = pair.get("trace_id")
        if self._steps is None or not trace or (is_open(pair) and not reveal):
            return pair
        steps, totals = await self._steps.read(pair["route"], trace)
        return {**pair, "steps": steps, "step_totals": totals} if steps else pair

    def _since(self, text: str | None) -> float:
        """In Unix seconds."""
        if text is None:
            return 0.0
        try:
            return max(0.0, self._clock.now() - parse_duration(text))
        except UnfitError:
            pass
        try:
            at = datetime.fromisoformat(text)
            if at.tzinfo is None:
                raise ValueError  # noqa: TRY301  # one way out for all that is no time
            return max(0.0, at.timestamp())
        except (ValueError, OverflowError):
            detail = "since: must be a duration such as 7d, or a time such as 2026-11-22T08:00:00Z"
            raise ApiError(422, "invalid_query", detail, path="since") from None

    def _known(self, request: web.Request) -> str:
        name = request.match_info["route"]
        if self._operations.route(name) is None:
            raise ApiError(404, "no_route", f"the configuration has no route {name!r}")
        return name


def _shown(request: web.Request, *, reveal: bool, of: str) -> Show:
    """How pairs are shown to who asks."""
    if not reveal:
        return hidden
    caller = request[CALLER]
    if caller.role is not Role.OPERATOR:
        raise ApiError(403, "forbidden", "only operators may see what the agent said before the human has decided")
    _log.warning("open_pairs_revealed", of=of, actor=caller.name or "anonymous")
    return lambda pair: pair


def _after(pair_id: str | None, route: str) -> str | None:
    if pair_id is None:
        return None
    match = _PLACE.fullmatch(pair_id)
    if match is None or match["route"] != route:
        detail = f"after: {pair_id!r} is no id of a pair of {route}; take the one of the last line"
        raise ApiError(422, "invalid_query", detail, path="after")
    return match["place"]


def _start(after: str | None, first: str) -> str:
    """The place behind which the first pair stands."""
    at, _, number = first.partition("-")
    before = f"{at}-{int(number) - 1}" if int(number) else f"{int(at) - 1}-{(1 << 64) - 1}"
    return max(before, after, key=_order) if after is not None else before


def _order(place: str) -> tuple[int, int]:
    at, _, number = place.partition("-")
    return int(at), int(number)


async def _stream(
    request: web.Request, response: web.StreamResponse, pages: AsyncIterator[list[dict[str, Any]]], show: Show
) -> None:
    try:
        async for page in pages:
            if page:
                await response.write(b"".join([orjson.dumps(show(pair)) + b"\n" for pair in page]))
        await response.write_eof()
    except ConnectionError:
        _log.info("export_left", path=request.path)  # by who read it
    except Exception as error:  # noqa: BLE001  # the answer has begun: no other one can tell of it
        expected = isinstance(error, StoreError)
        _log.warning("export_broken_off", path=request.path, problem=str(error), exc_info=not expected)
        if request.transport is not None:
            request.transport.abort()  # without its last chunk it does not look whole
