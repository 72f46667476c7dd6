"""`POST /api/v1/erasures`: forget one person. For operators.

    {key | key_base64, route, salts, reason, actor}   route: only there; salts: of the rollouts, as they were before
    {erased: {route: {pairs, outcomes, escalations, traces, waiting, unreadable, error}}, not_erased: [sentence]}

The key is in the body alone: it is personal, and a URL may be logged on its way. The answer comes when all is done,
which may take minutes; to ask again does no harm, and finishes what was cut off. `error` is there where a route's keys
could not be searched, and `unreadable` counts what does not open, so that nobody can tell whose it is.
"""

from typing import Annotated

from aiohttp import web
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from proxy.admin.answers import ApiError, answer
from proxy.admin.api import acting
from proxy.admin.bodies import ExplainBody, Line, read_body
from proxy.model.ports import PersonEraser

_Salt = Annotated[str, Field(min_length=1, max_length=256, strict=True)]


class ErasureBody(ExplainBody):
    route: str | None = Field(default=None, max_length=64, strict=True, pattern=r"^[a-z0-9_-]+$")
    salts: list[_Salt] = Field(default=[], max_length=20)
    reason: Line = Field(default="", max_length=1000, strict=True)
    actor: Line = Field(default="", max_length=128, strict=True)

    @model_validator(mode="after")
    def names_somebody(self) -> "ErasureBody":
        if not self.key_bytes():
            raise PydanticCustomError("key", "the key is empty, and so are those of all requests without one")
        return self


class Erasures:
    def __init__(self, eraser: PersonEraser) -> None:
        self._eraser = eraser

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post("/api/v1/erasures", self.erase)

    async def erase(self, request: web.Request) -> web.Response:
        body = await read_body(request, ErasureBody)
        actor = acting(request, body.actor)
        try:
            done = await self._eraser.erase(
                body.key_bytes(), route=body.route, salts=body.salts, actor=actor, reason=body.reason
            )
        except KeyError:
            detail = f"no route {body.route!r} has a rollout; where it had one, give its salt"
            raise ApiError(404, "no_route", detail) from None
        return answer(done)
