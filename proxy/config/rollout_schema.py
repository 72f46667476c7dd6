"""The part of the schema that describes one rollout: who is in, what is copied, compared and recorded, and the plan."""

from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from proxy.config.compare_schema import Compare
from proxy.config.fields import CookieName, HeaderName, JsonPath, Name, Section, Shape, Words
from proxy.config.freeze import FreezeWindow, TimeZone, Window, fill_the_week
from proxy.config.gates_schema import Gates, Guard
from proxy.config.late_schema import Pending
from proxy.config.record_schema import Record
from proxy.config.sharing_schema import Headers
from proxy.config.units import (
    Duration,
    Percent,
    PositiveDuration,
    PositiveSize,
    Size,
    UnfitError,
    Whole,
    format_percent,
)
from proxy.model.snapshot import BUCKETS
from proxy.model.words import Failure


class HeaderKey(Section):
    header: HeaderName


class CookieKey(Section):
    cookie: CookieName


class QueryKey(Section):
    query: Annotated[str, Field(min_length=1, max_length=256)]


def _kind_of_key(value: Any) -> str | None:
    if value == "client_ip":
        return "by client_ip"
    if isinstance(value, HeaderKey | CookieKey | QueryKey):
        return f"by {next(iter(type(value).model_fields))}"
    return next(
        (f"by {kind}" for kind in ("header", "cookie", "query") if isinstance(value, dict) and kind in value), None
    )


Key = Annotated[
    Annotated[HeaderKey, Tag("by header")]
    | Annotated[CookieKey, Tag("by cookie")]
    | Annotated[QueryKey, Tag("by query")]
    | Annotated[Literal["client_ip"], Tag("by client_ip")],
    Discriminator(
        _kind_of_key,
        custom_error_type="unfit",
        custom_error_message="is no key; write {header: NAME}, {cookie: NAME}, {query: NAME} or client_ip",
    ),
]
"""One place where a targeting key may be. The tags hold a space, so that no key of a file can be taken for one."""


class Shadow(Section):
    percent: Percent = BUCKETS
    """Percent of requests that are copied while the agent does not serve them."""
    max_body: Size = 1 << 20
    """Requests with a longer body are not copied (fate `oversized`)."""
    max_pending: Whole = Field(default=256, ge=1, le=65_536)
    """Copies under way per worker; more are not made (fate `dropped`)."""
    max_pending_bytes: PositiveSize = 64 << 20
    """Bodies held for copies under way, per worker."""
    timeout: PositiveDuration = 30.0
    """For the whole copy, from connecting to the answer's end (fate `timed_out`)."""
    repeat: Percent = 0
    """Percent of the copies that are sent to the agent once more, when it has answered: how far it differs from itself
    is its own noise."""
    set_headers: Headers = Field(default_factory=dict, repr=False)
    """Headers of copies alone, in place of the agent's own of that name: credentials that cannot act. Never shown."""


class Fallback(Section):
    on: Words[Failure] = frozenset(Failure)
    """On which failures of the agent the same request goes to legacy."""
    max_body: Size = 1 << 20
    """Requests with a longer body cannot be sent again, so they do not fall back."""


class Confidence(Section):
    path: JsonPath
    """Where the agent's answer holds its confidence, a number."""
    below: float = Field(ge=0, le=1)
    """A lower confidence is an escalation."""

    @field_validator("below", mode="before")
    @classmethod
    def no_boolean(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise UnfitError("is no number from 0 to 1")
        return value


class Escalate(Section):
    header: HeaderName = "x-crossfade-escalate"
    """The answer's header by which the agent hands over; its value is the reason."""
    confidence: Confidence | None = None


class Stage(Section):
    name: Name
    weight: Percent
    """Percent of users that the agent serves."""
    soak: Duration = 0.0
    """How long the stage must hold before its gates are asked."""
    approval: Literal["automatic", "manual"] = "automatic"
    """`manual`: when all gates have passed, an operator must promote."""


class Split(Section):
    """A fixed split under the operator's hand, instead of stages."""

    shadow: Percent = BUCKETS
    """Percent of requests that are copied; takes the place of `shadow.percent`."""
    weight: Percent = 0
    """Percent of users that the agent serves."""


DEFAULT_STAGES: Final = (
    Stage.model_validate({"name": "shadow", "weight": 0, "soak": "24h"}),
    Stage.model_validate({"name": "canary", "weight": 5, "soak": "1h"}),
    Stage.model_validate({"name": "expand-10", "weight": 10, "soak": "1h"}),
    Stage.model_validate({"name": "expand-25", "weight": 25, "soak": "1h"}),
    Stage.model_validate({"name": "expand-50", "weight": 50, "soak": "1h"}),
    Stage.model_validate({"name": "full", "weight": 100}),
)


class Rollout(Section):
    """One agent version being introduced on one route."""

    agent: Name
    """The upstream that is the candidate."""
    version: Annotated[
        str, Shape(r"[\x21-\x7e]{1,128}", "is no version; write 1 to 128 visible ASCII characters without spaces")
    ]
    """A new version starts again from the first stage."""
    key: tuple[Key, ...] = Field(default=("client_ip",), min_length=1)
    """Where the user's targeting key is looked for, in this order."""
    salt: Annotated[str, Field(min_length=1, max_length=64)]
    """Keys the hash that puts users into buckets. Another salt draws the users anew."""
    shadow: Shadow = Shadow()
    audit: Percent = 0
    """Percent of what the agent serves that is copied to legacy, so that a human still judges it. Legacy is told that
    it is a copy (x-crossfade-mode: shadow) and must not act on it twice."""
    fallback: Fallback = Fallback()
    escalate: Escalate = Escalate()
    compare: Compare = Compare()
    record: Record = Record()
    pending: Pending | None = None
    guard: Guard = Guard()
    gates: Gates = Gates()
    holdback: Percent = 0
    """Percent of users that stay with legacy at every stage, so that there is always something to compare with: the
    last stage of 100 percent, and no other, is cut to what this leaves."""
    on_failure: Literal["rollback", "pause"] = "rollback"
    """What a failed gate does. (What the guard finds is always rolled back.) In a shadow stage a rollback takes no
    traffic, as the agent has none: the rollout ends there until an operator's retry or a new version."""
    on_inconclusive: Literal["hold", "pause"] = "hold"
    """What happens when a stage has soaked and a gate is neither passed nor failed: wait on, or pause for an
    operator."""
    freeze: tuple[Window, ...] = Field(default=(), max_length=100)
    """When no stage is left by itself: each week (`Fri 16:00 - Mon 08:00`), each day (`18:00 - 08:00`), or from one
    date to another, both included (`2026-12-23 - 2027-01-02`). Operators still can, and rollbacks always happen."""
    timezone: TimeZone = "UTC"
    """In which `freeze` is meant: a name such as Europe/Berlin."""
    stages: tuple[Stage, ...] = Field(default=DEFAULT_STAGES, min_length=1, max_length=100)
    """The plan. Weights never fall from one stage to the next."""
    split: Split | None = None

    @field_validator("freeze")
    @classmethod
    def leave_some_time(cls, windows: tuple[FreezeWindow, ...]) -> tuple[FreezeWindow, ...]:
        if fill_the_week(windows):
            raise UnfitError(
                "leaves no minute of the week free; what shall never move by itself takes approval: manual"
            )
        return windows

    @field_validator("stages")
    @classmethod
    def go_up(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names: set[str] = set()
        for index, stage in enumerate(stages):
            if stage.name in names:
                raise UnfitError("is the name of an earlier stage too", at=(index, "name"))
            names.add(stage.name)
        for index, (before, after) in enumerate(pairwise(stages), 1):
            if after.weight < before.weight:
                raise UnfitError(
                    f"is below the {format_percent(before.weight)} of the stage before;"
                    " weights must not fall from one stage to the next",
                    at=(index, "weight"),
                )
        return stages

    @model_validator(mode="after")
    def one_plan(self) -> Self:
        if self.split is not None and "stages" in self.model_fields_set:
            raise UnfitError("excludes stages; keep one of the two", at=("split",))
        return self
