"""Escalations: the page that a signed link leads to, and what viewers may list.

    GET /escalations/{route}/{id}?expires=&signature=   the page; without both of them it wants a viewer's token
    GET /api/v1/routes/{route}/escalations              {escalations: [escalation], next: cursor}; query: reason, before
                                                        (a cursor), limit
    GET /api/v1/escalations/{route}/{id}                one, with its whole `pair`

An escalation is {id, route, pair_id, at, reason, detail, request_id, trace_id, version, stage, method, target,
duration} (`proxy.outcomes.escalation`).

A link may be opened before its record is there: workers hand records over five times a second, and while the store is
away they wait. So such a page says so, and looks again by itself for a while. Each view is logged, and its signature is
not.
"""

from collections.abc import Callable
from typing import Final

import structlog
from aiohttp import web
from pydantic import Field

from proxy.admin import escalation_page
from proxy.admin.answers import ApiError, answer
from proxy.admin.bodies import Checked, read_query
from proxy.admin.markup import policy
from proxy.admin.shield import CALLER, PAGE, by_link
from proxy.model.clock import Clock
from proxy.model.errors import StoreUnavailableError
from proxy.model.ports import EscalationReader, Operations
from proxy.routing.link import EXPIRED, verify

_log = structlog.get_logger()

MAX_LOOKS: Final = 30
"""How often a page without a record looks again; each time it waits a second longer, up to LONGEST_LOOK."""
LONGEST_LOOK: Final = 20

_WHEN: Final = "It comes within a second or two."

_HEADERS: Final = {
    "content-security-policy": policy(escalation_page.STYLE),
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "x-robots-tag": "noindex",
}


class EscalationsQuery(Checked):
    reason: str | None = Field(default=None, pattern=r"^[a-z0-9_]{1,32}$")
    before: str | None = Field(default=None, pattern=r"^[0-9-]{1,64}$")
    limit: int = Field(default=50, ge=1, le=500)


class EscalationApi:
    """`secret` gives what signs links now; empty: there are none."""

    def __init__(
        self, operations: Operations, escalations: EscalationReader, secret: Callable[[], str], clock: Clock
    ) -> None:
        self._operations, self._escalations, self._secret, self._clock = operations, escalations, secret, clock

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/escalations/{route}/{id}", self.page, name=PAGE)
        router.add_get("/api/v1/routes/{route}/escalations", self.list)
        router.add_get("/api/v1/escalations/{route}/{id}", self.one)

    async def list(self, request: web.Request) -> web.Response:
        route = request.match_info["route"]
        if self._operations.route(route) is None:
            raise ApiError(404, "no_route", f"the configuration has no route {route!r}")
        query = read_query(request.query, EscalationsQuery)
        try:
            found, following = await self._escalations.escalations(
                route, reason=query.reason, before=query.before, limit=query.limit
            )
        except ValueError as error:  # a cursor that no answer of ours gave, a word that is no reason
            raise ApiError(422, "invalid_query", str(error)) from error
        return answer({"escalations": found, "next": following})

    async def one(self, request: web.Request) -> web.Response:
        route, escalation_id = request.match_info["route"], request.match_info["id"]
        found = await self._escalations.escalation(route, escalation_id)
        if found is None:
            raise ApiError(404, "no_escalation", f"no escalation {escalation_id!r} of the route {route!r} is kept")
        return answer(found)

    async def page(self, request: web.Request) -> web.Response:
        """A route that the configuration no longer has may still have pages: links outlive it."""
        route, escalation_id = request.match_info["route"], request.match_info["id"]
        if by_link(request) and (refusal := self._refusal(request, route, escalation_id)) is not None:
            return refusal
        try:
            found = await self._escalations.escalation(route, escalation_id)
        except StoreUnavailableError:
            return _wait(request, 503, "The store does not answer just now. What is kept is not lost.")
        if found is None:
            return _wait(request, 404, "Its record has not arrived yet.", _WHEN)
        caller = request.get(CALLER)
        by = caller.name if caller is not None else "link"
        _log.info("escalation_viewed", id=escalation_id, route=route, by=by)
        return _html(escalation_page.show(found))

    def _refusal(self, request: web.Request, route: str, escalation_id: str) -> web.Response | None:
        expires = request.query.get("expires", "")
        # No more digits than a time has: a longer one is no link of ours.
        number = int(expires) if expires.isascii() and expires.isdecimal() and len(expires) <= 12 else 0
        signature = request.query.get("signature", "")
        problem = verify(self._secret(), route, escalation_id, number, signature, self._clock.now())
        if not problem:
            return None
        _log.warning("escalation_link_refused", id=escalation_id[:128], route=route[:128], problem=problem)
        if problem == EXPIRED:
            return _html(escalation_page.tell("This link has expired", "Ask whoever runs Crossfade to show it."), 410)
        return _html(
            escalation_page.tell(
                "This link does not work", "It was not copied whole, or its secret is another one now."
            ),
            403,
        )


def _wait(request: web.Request, status: int, *why: str) -> web.Response:
    """A page that looks again by itself, as often as it may."""
    tries = request.query.get("again", "0")
    tried = int(tries) if tries.isascii() and tries.isdecimal() and len(tries) <= 4 else MAX_LOOKS
    if tried >= MAX_LOOKS:
        told = escalation_page.tell(
            "It is not here", *why, "It may also be too old to be kept, or erased. Load this page again later."
        )
        return _html(told, status)
    pause = min(tried + 1, LONGEST_LOOK)
    # Only the query, so that it leads back here under whatever path a proxy in front has put this side.
    target = f"?{request.rel_url.update_query(again=str(tried + 1)).raw_query_string}"
    told = escalation_page.tell("One moment", *why, "This page looks again by itself.", refresh=f"{pause};url={target}")
    return _html(told, status, {"retry-after": str(pause)})


def _html(text: str, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        text=text, status=status, content_type="text/html", charset="utf-8", headers={**_HEADERS, **(headers or {})}
    )
