"""`POST /api/v1/outcomes`: humans' decisions that come later than legacy's answers.

    {outcomes: [{route, case | request_id, decision, decided_at, by}]}   at most MAX_OUTCOMES, and MAX_BYTES in all
    {accepted: number, rejected: [{index, error}]}

Each decision is checked by itself: what is wrong with one does not keep the others out. What is accepted is durable,
and joined to its pair within a second or so. `decided_at` is RFC 3339; without it the decision counts as made when it
came here, so a sender that may send twice should give it: then what comes again says nothing new.

A token of the role `reporter` may do this and nothing else. A human workflow that reports what it decided needs no
right to move rollouts, and its token lies on other machines than an operator's.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, Self

from aiohttp import web
from pydantic import AwareDatetime, Field, JsonValue, StrictInt, StrictStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from proxy.admin.answers import answer
from proxy.admin.bodies import Checked, Line, problem, read_body
from proxy.admin.shield import CALLER, OUTCOMES
from proxy.model.ports import DecisionTaker
from proxy.model.records import Decided
from proxy.outcomes.pending import MAX_CASE

MAX_OUTCOMES: Final = 1_000
MAX_BYTES: Final = 1 << 20
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_FIRST: Final = datetime(2000, 1, 1, tzinfo=UTC)


class OutcomesBody(Checked):
    outcomes: list[JsonValue] = Field(min_length=1, max_length=MAX_OUTCOMES)


class OutcomeBody(Checked):
    """`case` is what legacy's answer called it; a number stands for its digits."""

    route: str = Field(strict=True, max_length=64)
    case: StrictStr | StrictInt | None = None
    request_id: str | None = Field(default=None, strict=True, min_length=1, max_length=256)
    decision: JsonValue
    decided_at: AwareDatetime | None = None
    by: Line = Field(default="", max_length=128, strict=True)

    @model_validator(mode="before")
    @classmethod
    def time_is_written(cls, value: Any) -> Any:
        """A number might be seconds or milliseconds, and who guesses wrong puts a decision before all others."""
        at = value.get("decided_at") if isinstance(value, dict) else None
        if at is not None and not (isinstance(at, str) and _DATE.match(at)):
            raise PydanticCustomError("time", "decided_at is no time; write it as 2026-11-22T08:00:00Z")
        return value

    @model_validator(mode="after")
    def names_one(self) -> Self:
        if (self.case is None) == (self.request_id is None):
            raise PydanticCustomError("names", "give either case or request_id")
        if self.case is not None and not 0 < len(str(self.case)) <= MAX_CASE:
            raise PydanticCustomError("case", f"case is no text of 1 to {MAX_CASE} characters, nor a whole number")
        if self.decided_at is not None and self.decided_at < _FIRST:
            raise PydanticCustomError("time", "decided_at lies before the year 2000")
        return self

    def decided(self, caller: str) -> Decided:
        at = self.decided_at.timestamp() if self.decided_at is not None else None
        by = self.by or caller
        if self.request_id is not None:
            return Decided(self.route, "request", self.request_id, self.decision, at, by)
        return Decided(self.route, "case", str(self.case), self.decision, at, by)


class Outcomes:
    def __init__(self, taker: DecisionTaker) -> None:
        self._taker = taker

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post("/api/v1/outcomes", self.take, name=OUTCOMES)

    async def take(self, request: web.Request) -> web.Response:
        body = await read_body(request, OutcomesBody, MAX_BYTES)
        rejected: dict[int, str] = {}
        good: dict[int, Decided] = {}
        for index, item in enumerate(body.outcomes):
            try:
                good[index] = OutcomeBody.model_validate(item).decided(request[CALLER].name)
            except ValidationError as error:
                rejected[index] = problem(error, OutcomeBody)[1]
        refused = await self._taker.take([*good.values()]) if good else []
        rejected.update((index, why) for index, why in zip(good, refused, strict=True) if why)
        return answer({"accepted": len(body.outcomes) - len(rejected), "rejected": [*_told(rejected)]})


def _told(rejected: dict[int, str]) -> Iterator[dict[str, Any]]:
    for index, error in sorted(rejected.items()):
        yield {"index": index, "error": error}
