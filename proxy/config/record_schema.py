"""The part of the schema that says what is kept of each request, and for how long."""

from typing import Final

from pydantic import Field, field_validator

from proxy.config.fields import HeaderName, JsonPath, Section
from proxy.config.units import Percent, PositiveDuration, PositiveSize, Size, UnfitError, Whole
from proxy.model.snapshot import BUCKETS

_CREDENTIALS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})


def no_credential(header: str, *, at: tuple[int, ...] = ()) -> str:
    if header.lower() in _CREDENTIALS:
        raise UnfitError("carries credentials and is never recorded; leave it out", at=at)
    return header


class Record(Section):
    """What is kept of each request."""

    percent: Percent = BUCKETS
    """Percent of requests that are recorded."""
    max_body: Size = 64 << 10
    """Bodies are kept up to here; 0 keeps none."""
    headers: tuple[HeaderName, ...] = ("content-type",)
    """The only headers that are kept."""
    redact: tuple[str, ...] = (
        "password", "passwd", "secret", "token", "access_token", "refresh_token", "id_token", "api_key", "apikey",
        "authorization", "cookie", "private_key", "client_secret", "card_number", "cvv",
    )  # fmt: skip
    """JSON members, by name and at any depth, whose values are replaced before anything is stored."""
    drop: tuple[JsonPath, ...] = ()
    """Values in bodies, of the request and of both answers, that are not kept at all."""
    mask: tuple[JsonPath, ...] = ()
    """Values that are replaced by `[redacted]`."""
    hash: tuple[JsonPath, ...] = ()
    """Values that are replaced by a keyed hash: still the same where they were the same, and no longer readable."""
    max_pairs: Whole = Field(default=100_000, ge=100, le=100_000_000)
    """Pairs kept for the route; the oldest go first."""
    max_bytes: PositiveSize = 1 << 30
    """Memory that the pairs of the route may take in the store, whatever max_pairs says; the oldest go first."""
    max_age: PositiveDuration = 90 * 86_400.0
    """How long a pair is kept, and all that belongs to it."""

    @field_validator("headers")
    @classmethod
    def no_credentials(cls, headers: tuple[str, ...]) -> tuple[str, ...]:
        for index, header in enumerate(headers):
            no_credential(header, at=(index,))
        return headers
