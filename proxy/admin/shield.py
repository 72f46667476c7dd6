"""What every request passes before a handler sees it, from the outside in.

`identify` gives it an id, `translate` turns what is raised into answers, `refuse_foreign_pages` keeps web pages out of
an API that sits on the operator's own machine, and `authenticate` asks who it is.

Without tokens the API is open to whoever reaches the loopback address, which includes every page in a browser there.
Three checks keep those out: the Host must be a name of ours (a page whose name was rebound to 127.0.0.1 sends its own),
an Origin must be ours, and a POST must be JSON (which a form cannot send, and a script only after asking us first).
"""

import re
import uuid
from collections.abc import Awaitable, Callable, Collection
from ipaddress import ip_address
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from proxy.admin.answers import REQUEST_ID, ApiError, error_answer
from proxy.admin.auth import Caller, Role, Tokens
from proxy.telemetry.otlp import JSON, PROTOBUF

_log = structlog.get_logger()
CALLER: Final = web.RequestKey("caller", Caller)
OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked by probes and scrapers, which carry no token; they tell names and counts, no one's data."""

EXPLAIN: Final = "explain"
"""The name of the one route that is asked by POST and only reads. What it is asked about is a user's key, which is
personal: a body, unlike a query, is in no URL, no history of a shell or browser and no log on the way. It changes
nothing, keeps nothing and moves nothing, so a viewer may ask it."""

OUTCOMES: Final = "outcomes"
"""The name of the one route that a reporter may ask, and the only one."""

TRACES: Final = "traces"
"""The name of the one route that an agent may ask, and the only one. What it takes may also be protobuf, and packed by
gzip: neither can be sent by a page of a browser without asking first, which nobody here answers."""

PAGE: Final = "escalation"
"""The name of the one route that may be asked by a signed link: then the signature, which its handler checks, is all
that it takes, under whatever name this side is reached."""

_ONE_ROUTE: Final = {Role.REPORTER: OUTCOMES, Role.AGENT: TRACES}
_ONLY: Final = {Role.REPORTER: "report decisions", Role.AGENT: "send spans"}

_READING: Final = frozenset({"GET", "HEAD"})
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_HEADERS: Final = {"server": "crossfade", "cache-control": "no-store", "x-content-type-options": "nosniff"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Middleware(Protocol):
    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]: ...


def shield(tokens: Tokens | None, allowed_hosts: Collection[str]) -> list[Any]:
    """The middlewares in their order. `allowed_hosts` are names, without port, that the Host header may bear beside
    those of the loopback; they count only where there are no tokens."""
    return [_identify, _translate, _refuse_foreign_pages(tokens is None, allowed_hosts), _authenticate(tokens)]


def by_link(request: web.Request) -> bool:
    """Whether the request shows a link's signature, or part of it, in place of a token."""
    return request.match_info.route.name == PAGE and not request.query.keys().isdisjoint(("expires", "signature"))


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without port or brackets, can only mean this machine."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def own_headers(request: web.Request) -> dict[str, str]:
    """What each answer carries. One that is streamed must be given them itself, before it begins."""
    return {"x-request-id": request[REQUEST_ID], **_HEADERS}


@web.middleware
async def _identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    given = request.headers.get("x-request-id", "")
    request[REQUEST_ID] = given if _SANE_ID.fullmatch(given) else str(uuid.uuid4())
    response = await handler(request)
    response.headers.update(own_headers(request))
    return response


@web.middleware
async def _translate(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001  # the edge: everything becomes an answer, the unexpected is logged there
        return error_answer(request, error)


def _refuse_foreign_pages(check_host: bool, allowed_hosts: Collection[str]) -> Middleware:
    allowed = frozenset(host.lower() for host in allowed_hosts)

    @web.middleware
    async def refuse_foreign_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("host", "")
        if check_host and not by_link(request) and not ((name := _name(host)) in allowed or is_loopback(name)):
            detail = f"this API answers to localhost, not to {host!r}; set admin.tokens_file to serve it by other names"
            raise ApiError(403, "foreign_host", detail)
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise ApiError(403, "foreign_origin", "a page of another origin may not use this API")
        _check_body(request)
        return await handler(request)

    return refuse_foreign_pages


def _check_body(request: web.Request) -> None:
    spans = request.match_info.route.name == TRACES
    if request.method not in _READING and request.content_type != JSON:
        if not spans:
            raise ApiError(415, "not_json", "send content-type: application/json")
        if request.content_type != PROTOBUF:
            raise ApiError(415, "not_otlp", f"send content-type: {PROTOBUF} or {JSON}")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity" and not (spans and encoding == "gzip"):
        other = ", or packed by gzip" if spans else ""
        raise ApiError(415, "encoded", f"send the body without content-encoding{other}")


def _authenticate(tokens: Tokens | None) -> Middleware:
    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        if by_link(request):
            return await handler(request)
        if tokens is None:
            request[CALLER] = Caller("", Role.OPERATOR)
        elif request.path not in OPEN_PATHS:
            request[CALLER] = _caller(request, tokens)
        return await handler(request)

    return authenticate


def _caller(request: web.Request, tokens: Tokens) -> Caller:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    caller = tokens.find(token.strip()) if scheme.lower() == "bearer" else None
    if caller is None:
        _log.warning("login_failed", peer=request.remote, path=request.path, given=scheme.lower() == "bearer")
        raise ApiError(
            401,
            "unauthorized",
            "send authorization: Bearer with a token of admin.tokens_file",
            headers={"www-authenticate": 'Bearer realm="crossfade"'},
        )
    if not _may(caller.role, request):
        _log.warning("role_refused", caller=caller.name, role=caller.role, path=request.path)
        only = _ONLY.get(caller.role, "read")
        needed = "a viewer's or an operator's" if _only_reads(request) else "an operator's"
        raise ApiError(403, "forbidden", f"the token {caller.name!r} may only {only}; {needed} token is needed")
    return caller


def _may(role: Role, request: web.Request) -> bool:
    if role in _ONE_ROUTE:
        return request.match_info.route.name == _ONE_ROUTE[role]
    return role is Role.OPERATOR or _only_reads(request)


def _only_reads(request: web.Request) -> bool:
    """By the route that was found, not by the path's text, so that no spelling of another path passes for it."""
    return request.method in _READING or request.match_info.route.name == EXPLAIN


def _name(host: str) -> str:
    """The host of a Host header, without port and brackets; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
