"""The part of the schema that says how what was recorded is kept safe, and who else hears of it: keys, the human
queue, a collector of traces."""

import base64
import binascii
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainSerializer, field_validator

from proxy.config.fields import MASK, HeaderName, HeaderValue, Name, Secret, Section
from proxy.config.units import PositiveDuration, UnfitError


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or not url.isascii() or not url.isprintable() or " " in url:
        raise UnfitError("must be written as https://host[:port]/path")
    return url


Url = Annotated[str, AfterValidator(_check_url)]

Headers = Annotated[
    dict[HeaderName, HeaderValue],
    PlainSerializer(lambda headers: dict.fromkeys(headers, MASK), when_used="json"),
]
"""They may hold credentials: never shown."""


class Key(Section):
    id: Name
    """Written beside what it sealed, so that it is found again."""
    key: Secret
    """32 random bytes in base64, as `openssl rand -base64 32` prints them; best from a file: ${file:/run/secrets/k}."""

    @field_validator("key")
    @classmethod
    def is_one(cls, text: str) -> str:
        try:
            length = len(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            length = -1
        if length != 32:
            raise UnfitError("is no key; write 32 random bytes in base64, as openssl rand -base64 32 prints them")
        return text


class Encryption(Section):
    """What is recorded of requests is sealed with AES-256-GCM before it leaves for the store or the disk."""

    keys: tuple[Key, ...] = Field(min_length=1, max_length=20)
    """The first one seals, all open: to rotate, put a new one in front and leave the others until all that they sealed
    is older than record.max_age."""

    @field_validator("keys")
    @classmethod
    def differ(cls, keys: tuple[Key, ...]) -> tuple[Key, ...]:
        seen: set[str] = set()
        for index, key in enumerate(keys):
            if key.id in seen:
                raise UnfitError("is the id of an earlier key too", at=(index, "id"))
            seen.add(key.id)
        return keys


class Webhook(Section):
    """Told of each escalation, so that the human queue knows."""

    url: Annotated[Url, PlainSerializer(lambda _: MASK, when_used="json")] = Field(repr=False)
    """Gets a POST of JSON. It may hold a secret: never shown."""
    headers: Headers = Field(default_factory=dict, repr=False)
    """Put on each of them."""
    timeout: PositiveDuration = 5.0
    give_up: PositiveDuration = 86_400.0
    """How long one escalation is tried again."""


class Escalations(Section):
    """How the human finds what the agent tried."""

    url: Url | None = None
    """Under which the admin side is reached by the people who decide, such as https://crossfade.example.com. With it,
    legacy gets a signed link to a page of each escalation."""
    secret: Annotated[str, Field(min_length=16), PlainSerializer(lambda _: MASK, when_used="json")] | None = Field(
        default=None, repr=False
    )
    """Signs the links."""
    valid: PositiveDuration = 30 * 86_400.0
    """How long a link works."""
    webhook: Webhook | None = None


class Forward(Section):
    url: Url
    """Of a collector that takes OTLP/HTTP, such as http://collector:4318/v1/traces."""
    headers: Headers = Field(default_factory=dict, repr=False)
    timeout: PositiveDuration = 10.0


class Traces(Section):
    """What agents tell of their work by OpenTelemetry, at /v1/traces on the admin side."""

    forward: Forward | None = None
    """Where all spans go on to."""
