"""The part of the schema that says how a human's decision comes later than legacy's answer."""

from typing import Annotated

from pydantic import Field, field_validator

from proxy.config.fields import JsonPath, Section, Shape
from proxy.config.units import PositiveDuration, PositiveSize, Whole


class Callback(Section):
    """Requests that pass through Crossfade on their way to whoever waits for the decision; they are read in passing and
    go on by the route that they match, as they are."""

    path_prefix: Annotated[
        str, Shape(r"/[\x21\x22\x24-\x3e\x40-\x7e]*", "is no path; it starts with / and holds no space, ? or #")
    ]
    """Matches whole segments, as a route's does."""
    key: JsonPath = "$.case_id"
    """Where its body has the case."""
    decision: JsonPath = "$.decision"
    """Where its body has the decision."""
    max_body: PositiveSize = 64 << 10
    """Longer bodies are not read."""


class Pending(Section):
    """Answers of legacy that are none yet: the human decides later."""

    status: tuple[Annotated[Whole, Field(ge=100, le=599)], ...] = Field(default=(202,), min_length=1, max_length=20)
    """By which status legacy says so."""
    key: JsonPath = "$.case_id"
    """Where its answer names the case, by which the decision is found again. A decision may name the request's id
    instead."""
    expires: PositiveDuration = 14 * 86_400.0
    """How long the decision is waited for."""
    callback: Callback | None = None
    """Where decisions pass through Crossfade itself."""

    @field_validator("status", mode="before")
    @classmethod
    def one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, int) and not isinstance(value, bool) else value
