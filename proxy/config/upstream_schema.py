"""The part of the schema that describes one upstream: where it is, how it is spoken to, and how much it may get."""

import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, PlainSerializer, field_validator

from proxy.config.fields import MASK, FilePath, HeaderName, HeaderValue, Section, Shape, TlsVersion, Words
from proxy.config.units import Duration, PositiveDuration, Share, UnfitError, Whole


class Timeouts(Section):
    connect: PositiveDuration = 1.0
    """Until connected, TLS included."""
    response: PositiveDuration = 60.0
    """From the request's end to the head of the answer."""
    idle: PositiveDuration = 60.0
    """The longest silence within a body."""
    total: Duration = 0.0
    """From sending a request to the end of its answer. 0: no limit."""
    keep_alive: PositiveDuration = 4.0
    """How long a pooled connection may rest; less than the upstream itself keeps one."""
    tunnel: PositiveDuration = 300.0
    """The longest silence in a tunnel (WebSocket)."""


class Retry(Section):
    attempts: Whole = Field(default=0, ge=0, le=5)
    """Tries after the first one."""
    on: Words[Literal["connect_failure", "reset", "503"]] = frozenset({"connect_failure"})
    """After `reset` and `503` only where sending twice is safe: by its method, or with an Idempotency-Key."""
    budget: Share = 0.2
    """The share of requests that may be sent once more."""
    backoff: PositiveDuration = 0.025
    """The longest pause before the second try; it doubles with each further one. The pause taken is random."""

    @field_validator("on", mode="before")
    @classmethod
    def words(cls, value: Any) -> Any:
        """503 is a number in YAML; the other words are text."""
        return ["503" if word == 503 else word for word in value] if isinstance(value, list) else value


_OURS: Final = frozenset({
    "connection", "content-length", "expect", "forwarded", "keep-alive", "proxy-connection", "te", "traceparent",
    "trailer", "transfer-encoding", "upgrade", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
    "x-request-id",
})  # fmt: skip
"""Headers that frame a message or that Crossfade says of what it knows itself."""


def _mask_values(headers: dict[str, str]) -> dict[str, str]:
    return dict.fromkeys(headers, MASK)


class UpstreamTls(Section):
    """TLS to an upstream whose url is https. The files are read again when they change."""

    ca_file: FilePath | None = None
    """The CAs that may vouch for it, in PEM. Without: the system's."""
    cert_file: FilePath | None = None
    """Our own certificate, for an upstream that asks for one."""
    key_file: FilePath | None = None
    server_name: Annotated[str, Shape(r"[A-Za-z0-9._-]{0,253}", "is no host's name")] = ""
    """The name in its certificate, and SNI. Without: the url's host."""
    min_version: TlsVersion = "1.2"
    insecure_skip_verify: bool = False
    """Take any certificate: whoever stands in between can read and answer. Logged as a warning; fails readiness."""


class HealthCheck(Section):
    """A GET from each worker, again and again. An agent that fails it is not asked; legacy always is."""

    path: Annotated[str, Shape(r"/[\x21\x22\x24-\x7e]*", "is no path; it starts with / and holds no space or #")]
    interval: PositiveDuration = 5.0
    timeout: PositiveDuration = 1.0
    unhealthy: Whole = Field(default=3, ge=1, le=100)
    """Bad answers in a row, anything but a 2xx in time, until it counts as unhealthy."""
    healthy: Whole = Field(default=2, ge=1, le=100)
    """Good answers in a row until it counts as healthy again."""


class Upstream(Section):
    """A named HTTP endpoint."""

    url: str
    """`http://host[:port][/base]` or `https://…`; the base path is put before the request's."""
    tls: UpstreamTls | None = None
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    set_headers: Annotated[dict[HeaderName, HeaderValue], PlainSerializer(_mask_values, when_used="json")] = Field(
        default_factory=dict, repr=False
    )
    """Headers put on each request to it, in place of the client's. They may hold credentials: never shown."""
    remove_headers: Words[HeaderName] | None = None
    """Headers of the client that are not passed on. Without: authorization, cookie and proxy-authorization where it is
    an agent, none where it is legacy. `[]` passes all on."""
    max_idle: Whole = Field(default=256, ge=0, le=65_536)
    """Pooled connections that may rest, per worker."""
    max_inflight: Whole = Field(default=1024, ge=0, le=1_000_000)
    """Requests and copies that it may have at once, per worker. 0: no limit."""
    max_queue: Whole = Field(default=1024, ge=0, le=1_000_000)
    """Requests that wait for their turn, per worker; beyond it 503, or legacy where it is an agent."""
    queue_timeout: PositiveDuration = 5.0
    """How long a request waits for its turn; then as beyond max_queue."""
    health_check: HealthCheck | None = None

    @property
    def longest(self) -> float:
        """Seconds that a request may take before a timeout ends it: each try waits for its turn and its connection, the
        last one for the answer too. (Tries after an answer that was bad and took long are not in it.)"""
        tries = (1 + self.retry.attempts) * (self.queue_timeout + self.timeouts.connect)
        return tries + self.retry.backoff * ((1 << self.retry.attempts) - 1) + self.timeouts.response

    @field_validator("url")
    @classmethod
    def check_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or re.search(r"[^\x21-\x7e]", url):
            raise UnfitError("must be written as http://host:port, https://host:port or with a /base behind")
        if parts.username is not None or "?" in url or "#" in url:
            raise UnfitError("must hold no user, query or fragment; put credentials in set_headers")
        return url

    @field_validator("set_headers")
    @classmethod
    def check_set_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        seen: set[str] = set()
        for name in headers:
            if name.lower() in _OURS or name.lower().startswith("x-crossfade-"):
                raise UnfitError("is Crossfade's own to write; leave it out", at=(name,))
            if name.lower() in seen:
                raise UnfitError("is set twice; upper and lower case make no difference", at=(name,))
            seen.add(name.lower())
        return headers

    @field_validator("remove_headers")
    @classmethod
    def keep_host(cls, names: frozenset[str] | None) -> frozenset[str] | None:
        if "host" in {name.lower() for name in names or ()}:
            raise UnfitError("must not name host, which every request needs")
        return names
