"""An agent's span as it came by OpenTelemetry, whatever its encoding was: what `telemetry.otlp` makes, and
`outcomes.steps` reads."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

CLIENT: Final = 3
"""The kind of a span that asks somebody else, in the numbers of OTLP."""


class SpanEvent(NamedTuple):
    """`at` is in nanoseconds since 1970."""

    name: str
    at: int
    attributes: Mapping[str, Any]


class Span(NamedTuple):
    """Ids are lower-case hex, `parent_id` empty at a root; `start` and `end` are nanoseconds since 1970.

    Attributes are plain values: text, numbers, booleans, lists, dicts. `failed` says that its status is an error, and
    `problem` what it says of it. `cut` says that something of it was beyond a bound and is missing. `resource` is
    its process's.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start: int
    end: int
    kind: int = 0
    failed: bool = False
    problem: str = ""
    attributes: Mapping[str, Any] = {}
    events: tuple[SpanEvent, ...] = ()
    resource: Mapping[str, Any] = {}
    scope: str = ""
    trace_state: str = ""
    cut: bool = False
