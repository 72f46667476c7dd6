"""The part of the schema that says what makes the two arms agree."""

import math
import re
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from proxy.config.fields import HeaderName, JsonPath, Scalar, Section
from proxy.config.record_schema import no_credential
from proxy.config.units import UnfitError, Whole, format_duration, format_share, parse_duration, parse_share

ARROW: Final = "->"


class Tolerance(NamedTuple):
    """By how much two values may differ: a share of legacy's number, seconds between two times, or a number. One of the
    three is not 0."""

    share: float = 0.0
    seconds: float = 0.0
    number: float = 0.0


_NUMBER: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?(?:[eE]-?[0-9]{1,3})?")


def parse_tolerance(value: Any) -> Tolerance:
    """Of `1%` (a share), `5s` (a time) or `0.01` (a number)."""
    if isinstance(value, Tolerance):
        return value
    if isinstance(value, str) and value.endswith("%"):
        return Tolerance(share=parse_share(value))
    written = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if _NUMBER.fullmatch(written) and math.isfinite(number := float(written)):
        return Tolerance(number=number)
    if written[:1].isdigit() and written[-1].isalpha():
        return Tolerance(seconds=parse_duration(value))
    raise UnfitError("is no tolerance; write a share (1%), a time (5s) or a number (0.01)")


def format_tolerance(tolerance: Tolerance) -> str | float:
    if tolerance.share:
        return format_share(tolerance.share)
    return format_duration(tolerance.seconds) if tolerance.seconds else tolerance.number


Allowed = Annotated[
    Tolerance,
    PlainValidator(parse_tolerance),
    PlainSerializer(format_tolerance, when_used="json"),
    WithJsonSchema({"type": ["string", "number"], "examples": ["1%", "5s", 0.01]}),
]

Step = Literal["unicode", "case", "space"]
"""What is not told apart in texts: forms of the same characters (NFKC), capitals, white space."""


def _one_is_a_list(value: Any) -> Any:
    return (value,) if isinstance(value, str | int) and not isinstance(value, bool) else value


Steps = Annotated[tuple[Step, ...], BeforeValidator(_one_is_a_list), Field(min_length=1, max_length=3)]
Status = Annotated[Whole, Field(ge=100, le=499)]
"""One of 500 and more is a failure, and decides nothing."""


Meanings = Annotated[
    tuple[Scalar, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str | int | float) else value),
    Field(max_length=100),
]


class Fields(Section):
    ignore: tuple[JsonPath, ...] = ()
    """Members that may differ, such as ids and times."""
    tolerance: dict[JsonPath, Allowed] = Field(default_factory=dict)
    """Members that may differ by a share of legacy's number, by a time or by a number."""
    sets: tuple[JsonPath, ...] = ()
    """Lists whose order says nothing."""
    normalize: dict[JsonPath, Steps] = Field(default_factory=dict)
    """Texts that are compared without what their steps name."""


class HeaderDecision(Section):
    header: HeaderName
    """Of the arm's answer. It is recorded with the answers."""

    @field_validator("header")
    @classmethod
    def no_credential(cls, header: str) -> str:
        return no_credential(header)


class StatusDecision(Section):
    status: dict[str, Annotated[tuple[Status, ...], BeforeValidator(_one_is_a_list), Field(min_length=1)]] = Field(
        min_length=1, max_length=100
    )
    """What each status of the answer decides. One that is not named decides nothing."""

    @field_validator("status")
    @classmethod
    def one_meaning(cls, statuses: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        seen: set[int] = set()
        for name, codes in statuses.items():
            for index, code in enumerate(codes):
                if code in seen:
                    raise UnfitError("already stands for a decision", at=(name, index))
                seen.add(code)
        return statuses


def _kind_of_decision(value: Any) -> str | None:
    if isinstance(value, HeaderDecision | StatusDecision):
        return f"by {next(iter(type(value).model_fields))}"
    if isinstance(value, dict):
        return next((f"by {kind}" for kind in ("header", "status") if kind in value), None)
    if value == "status":
        return "the status"
    return "a path" if isinstance(value, str) else None


Decision = Annotated[
    Annotated[JsonPath, Tag("a path")]
    | Annotated[Literal["status"], Tag("the status")]
    | Annotated[HeaderDecision, Tag("by header")]
    | Annotated[StatusDecision, Tag("by status")],
    Discriminator(
        _kind_of_decision,
        custom_error_type="unfit",
        custom_error_message="is no decision; write a JSON path, {header: NAME}, status or {status: {NAME: [CODE]}}",
    ),
]
"""Where an arm's answer says what it decided. The tags hold a space, so that no key of a file can be taken for one."""


def parse_miss(text: Any) -> tuple[str, str]:
    """(legacy's decision, the agent's) of `approve->deny`."""
    sides = [side.strip() for side in text.split(ARROW)] if isinstance(text, str) else []
    if len(sides) != 2 or not all(sides) or sides[0] == sides[1]:
        raise UnfitError(f"is no miss; write legacy's decision, {ARROW} and the agent's: approve{ARROW}deny")
    return sides[0], sides[1]


def _check_miss(text: Any) -> str:
    return ARROW.join(parse_miss(text))


Miss = Annotated[str, PlainValidator(_check_miss), WithJsonSchema({"type": "string"})]
Cost = Annotated[float, Field(ge=0, le=1e9)]


class Compare(Section):
    decision: Decision | None = None
    """The value on which both arms must agree; without it the whole bodies are compared."""
    labels: dict[Annotated[str, Field(min_length=1, max_length=64)], Meanings] = Field(default_factory=dict)
    """What decisions are called: those in one list are one decision, and so is the name itself."""
    fields: Fields = Fields()
    cost: dict[Miss, Cost] = Field(default_factory=dict)
    """How bad it is that the agent decides otherwise, as `approve->deny: 10`: legacy's decision, then the agent's. A
    miss that is not named costs 1."""

    @field_validator("labels")
    @classmethod
    def one_label(cls, labels: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        """Values are told apart as they are written."""
        owner = {name: name for name in labels}
        for name, values in labels.items():
            for index, value in enumerate(values):
                if owner.setdefault(spelled(value), name) != name:
                    raise UnfitError(f"already means {owner[spelled(value)]}", at=(name, index))
        return labels

    @model_validator(mode="after")
    def known_costs(self) -> Self:
        """Where all decisions have names, a cost of another one is a slip of the pen."""
        if isinstance(self.decision, StatusDecision):
            known = {*self.decision.status, *self.labels}
            for side in (side for miss in self.cost for side in parse_miss(miss)):
                if side not in known:
                    raise UnfitError(f"names {side}, which no status stands for", at=("cost",))
        return self


def spelled(value: str | float | bool) -> str:
    """A decision as text: `true`, `1` (of 1.0 too), `approve`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return value if isinstance(value, str) else repr(value)


_EXACT: Final = 1 << 53
