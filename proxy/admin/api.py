"""`/api/v1`: routes and their verbs, explanations, history, evidence, configuration.

Times are RFC 3339 in UTC, durations seconds, shares 0 to 1, weights percent. What each path answers:

    GET  routes                  {routes: [route]}
    GET  routes/{route}          a route, see `proxy.control.operations`
    POST routes/{route}/{verb}   the route; the body is {reason, actor}, with promote also {full}
    POST routes/{route}/explain  where a user's requests go, and why; the body is {key}, or {key_base64} where the key's
                                 bytes are no text. It changes nothing, so viewers may ask too: the key is personal, and
                                 a POST's body is in no URL and no log
    GET  routes/{route}/pairs    {pairs: [pair], next: cursor}; and one by one, and all: see `proxy.admin.pairs`
    GET  routes/{route}/history  {events: [event]}, newest first; query: limit
    GET  routes/{route}/evidence {evidence: [stage]}: what was seen at each stage, of earlier versions and epochs too,
                                 newest first, misses at their present cost; query: limit
    GET  config                  the configuration that runs, secrets masked
    POST outcomes                {accepted, rejected}: humans' late decisions, see `proxy.admin.outcomes`
    POST erasures                {erased, not_erased}: forget one person, see `proxy.admin.erasure`
    POST config/reload           {result: applied | unchanged, snapshot}; the body is {actor}

An error is {error, detail, request_id}: 401 no token, 403 not allowed to, 404 unknown, 409 the phase does not allow the
verb (with `allowed`), 412 somebody else was faster, 413, 415, 422 a body, query or configuration that is wrong (with
`path` or `problems`), 503 the store is away.
"""

from typing import Any

from aiohttp import web

from proxy.admin.answers import ApiError, answer
from proxy.admin.bodies import (
    EvidenceQuery,
    ExplainBody,
    HistoryQuery,
    PromoteBody,
    VerbBody,
    read_body,
    read_query,
)
from proxy.admin.documents import event_document, stage_document
from proxy.admin.shield import CALLER, EXPLAIN
from proxy.model.ports import HistoryReader, Operations
from proxy.model.words import Verb


class Api:
    def __init__(self, operations: Operations, history: HistoryReader) -> None:
        self._operations, self._history = operations, history

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/routes", self.routes)
        router.add_get("/api/v1/routes/{route}", self.route)
        router.add_get("/api/v1/routes/{route}/history", self.history)
        router.add_get("/api/v1/routes/{route}/evidence", self.evidence)
        router.add_post("/api/v1/routes/{route}/explain", self.explain, name=EXPLAIN)
        router.add_post("/api/v1/routes/{route}/{verb:promote|pause|resume|abort|retry}", self.command)
        router.add_get("/api/v1/config", self.config)
        router.add_post("/api/v1/config/reload", self.reload)

    async def routes(self, _request: web.Request) -> web.Response:
        return answer({"routes": self._operations.routes()})

    async def route(self, request: web.Request) -> web.Response:
        return answer(self._known(request))

    async def command(self, request: web.Request) -> web.Response:
        """Carry out a verb; the answer is the route as it then stands."""
        route, verb = self._known(request)["name"], Verb(request.match_info["verb"])
        body = await read_body(request, PromoteBody if verb is Verb.PROMOTE else VerbBody)
        actor = acting(request, body.actor)
        full = isinstance(body, PromoteBody) and body.full
        try:
            document = await self._operations.command(route, verb, actor=actor, reason=body.reason, full=full)
        except KeyError as error:
            raise _no_rollout(route) from error
        return answer(document)

    async def explain(self, request: web.Request) -> web.Response:
        route = self._known(request)["name"]
        document = self._operations.explain(route, (await read_body(request, ExplainBody)).key_bytes())
        if document is None:
            raise _no_rollout(route)
        return answer(document)

    async def history(self, request: web.Request) -> web.Response:
        route = self._known(request)["name"]
        events = await self._history.history(route, limit=read_query(request.query, HistoryQuery).limit)
        return answer({"events": [event_document(event) for event in events]})

    async def evidence(self, request: web.Request) -> web.Response:
        route = self._known(request)["name"]
        places = await self._history.stages(route, limit=read_query(request.query, EvidenceQuery).limit)
        costs = self._operations.costs(route)
        documents = [stage_document(*place, await self._history.evidence(route, *place), costs) for place in places]
        return answer({"evidence": documents})

    async def config(self, _request: web.Request) -> web.Response:
        return answer(self._operations.config())

    async def reload(self, request: web.Request) -> web.Response:
        actor = acting(request, (await read_body(request, VerbBody)).actor)
        return answer(await self._operations.reload(actor=actor))

    def _known(self, request: web.Request) -> dict[str, Any]:
        name = request.match_info["route"]
        document = self._operations.route(name)
        if document is None:
            raise ApiError(404, "no_route", f"the configuration has no route {name!r}")
        return document


def _no_rollout(route: str) -> ApiError:
    return ApiError(404, "no_rollout", f"the route {route!r} has no rollout")


def acting(request: web.Request, claimed: str) -> str:
    """Who is written down: the token's name, never what the body claims beside it; else the claim."""
    return request[CALLER].name or claimed or "anonymous"
