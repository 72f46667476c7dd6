"""The part of the schema that says what is decided by evidence: what rolls a rollout back, and what lets it move on."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator

from proxy.config.fields import JsonPath, Scalar, Section
from proxy.config.units import PositiveDuration, Share, UnfitError, Whole, format_share


class ErrorRate(Section):
    margin: Share = 0.002
    """How much higher than legacy's the agent's error rate may be."""
    objective: Share | None = None
    """An error rate that the agent must keep whatever legacy's is, also where no legacy traffic is left to compare
    with."""


class Latency(Section):
    slower_than: PositiveDuration
    """An answer that takes longer is slow."""
    margin: Share = 0.01
    """How much higher than legacy's the agent's share of slow answers may be."""
    objective: Share | None = None
    """A share of slow answers that the agent must keep whatever legacy's is."""


class Guard(Section):
    """What rolls back: how much worse than legacy the agent may be at most."""

    error_rate: ErrorRate = ErrorRate()
    latency: Latency | None = None


class Gate(Section):
    """What all gates that can be measured have in common."""

    dry_run: bool = False
    """It only reports: it holds nothing and moves nothing."""


class Floor(Gate):
    min: Share
    """What must be shown, with confidence, to be reached."""

    @field_validator("min")
    @classmethod
    def can_be_shown(cls, value: float) -> float:
        return _not_all(value)


class Ceiling(Gate):
    max: Share
    """The most that there may be, shown with confidence."""

    @field_validator("max")
    @classmethod
    def can_be_shown(cls, value: float) -> float:
        return _some(value)


def _not_all(value: float) -> float:
    if value >= 1:
        raise UnfitError("can never pass: no number of samples shows 100%; write less, such as 99.5%")
    return value


def _some(value: float) -> float:
    if value <= 0:
        raise UnfitError("can never pass: no number of samples shows that there are none; write more, such as 0.1%")
    return value


def _short(key: str, gate: type[Gate]) -> tuple[BeforeValidator, PlainSerializer]:
    """`95%` is short for `{min: 95%}`, and shown so where there is nothing else to show."""

    def read(value: Any) -> Any:
        return value if isinstance(value, dict | gate) else {key: value}

    def write(value: Gate) -> Any:
        return format_share(getattr(value, key)) if not value.dry_run else value.model_dump(mode="json")

    return BeforeValidator(read, json_schema_input_type=Share | gate), PlainSerializer(write, when_used="json")


AtLeast = Annotated[Floor, *_short("min", Floor)]
AtMost = Annotated[Ceiling, *_short("max", Ceiling)]


class Allowance(Gate):
    """Against legacy, absolute, or both."""

    margin: Share | None = None
    """How much higher than legacy's the agent's rate may be. Left out, and `max` too: the guard's margin."""
    max: Share | None = None
    """The most that it may be, shown with confidence, whatever legacy's is."""

    @field_validator("max")
    @classmethod
    def can_be_shown(cls, value: float | None) -> float | None:
        return value if value is None else _some(value)


class Segments(Gate):
    """Agreement within each kind of request, so that a good average cannot hide one that goes wrong."""

    by: JsonPath
    """Where the request's body says what kind it is."""
    agreement: Share = 0.9
    """The agreement that each segment must show."""
    min_samples: Whole = Field(default=50, ge=1, le=1_000_000_000)
    """Pairs of each segment; fewer are inconclusive."""
    min_share: Share = 0.01
    """Segments with a smaller share of the pairs are judged together, as one; where they are fewer even so, not at
    all."""

    @field_validator("agreement")
    @classmethod
    def can_be_shown(cls, value: float) -> float:
        return _not_all(value)


class Direction(Gate):
    """Are the mistakes balanced, or does the agent say yes where the human says no (or the other way)?"""

    yes: Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=100)]
    """The decisions that count as yes. All others are no."""
    worse: Literal["agent_yes", "agent_no", "either"] = "either"
    """The direction that fails the gate where mistakes lean to it."""


class SampleRatio(Gate):
    """Is the split that came about the one that was asked for?"""


class Gates(Section):
    """What must hold to leave a stage, beside its soak."""

    min_samples: Whole = Field(default=500, ge=1, le=1_000_000_000)
    """No stage is left, and no gate fails, on fewer: comparable pairs in a shadow stage, later the agent's requests."""
    agreement: AtLeast = Floor.model_validate({"min": "95%"})
    """The agreement that must be shown. No number of pairs shows 100%; 0 only reports."""
    segments: Segments | None = None
    direction: Direction | None = None
    kappa: AtLeast | None = None
    """Cohen's kappa, the agreement beyond chance, that must be shown."""
    error_rate: Allowance = Allowance()
    latency: Allowance = Allowance()
    """Only where the guard has a `latency`."""
    fallback_rate: AtMost | None = None
    """Of the requests that the agent served, those that legacy had to finish."""
    escalation_rate: AtMost | None = None
    """Of the agent's requests, those that it handed over."""
    key_coverage: AtLeast | None = None
    """The share of requests that carry a key, and so can be split by user. Left out, it is only reported."""
    sample_ratio: SampleRatio = SampleRatio()
    readiness: Literal["required", "off"] = "off"
    """The readiness checklist. This version can only leave it off."""

    @field_validator("readiness")
    @classmethod
    def not_yet_built(cls, value: str) -> str:
        if value == "required":
            raise UnfitError("needs the readiness checklist, which is not built yet; write off")
        return value
