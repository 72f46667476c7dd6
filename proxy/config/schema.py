"""The configuration's schema: frozen pydantic models, unknown keys refused, each default a safe one.

The example with every key explained is `config/crossfade.yaml`. What fields have in common is in `fields` and `units`;
the way in is in `listen_schema`, an upstream in `upstream_schema`, a route's rollout in `rollout_schema`, and what
decides on it in `gates_schema`; what takes more than one section to see is in `checks` and `rollout_checks`. The
sentence of an UnfitError has no subject (see there).
"""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, field_validator

from proxy.config.fields import (
    Address,
    HeaderName,
    HeaderValue,
    ListenAddress,
    Method,
    Name,
    Secret,
    Section,
    Shape,
    Words,
)
from proxy.config.listen_schema import Limits, Listen
from proxy.config.rollout_schema import Rollout
from proxy.config.sharing_schema import Encryption, Escalations, Traces
from proxy.config.store_url import check_store, mask_store
from proxy.config.units import Duration, PositiveDuration, UnfitError, parse_whole
from proxy.config.upstream_schema import Upstream

_NO_TLS: Final = "is not built yet; keep the admin side on loopback, or terminate TLS in front of it"


class Override(Section):
    """Testers may choose the arm of a request by a signed header."""

    secret: Annotated[Secret, Field(min_length=16)]
    """The key of the signatures, of at least 16 characters. A new one ends all that were signed with the old one."""


class Admin(Section):
    """Where the operator's API, the metrics and the probes are."""

    not_yet: ClassVar = {"tls": _NO_TLS}

    address: ListenAddress = Address(host="127.0.0.1", port=9900)
    tokens_file: str | None = None
    """Bearer tokens. Without them the address must be on loopback."""

    @field_validator("tokens_file")
    @classmethod
    def empty_is_none(cls, value: str | None) -> str | None:
        """`${TOKENS_FILE:-}` means none."""
        return value or None


class Match(Section):
    """All that is given must hold; the longest prefix wins."""

    path_prefix: Annotated[
        str, Shape(r"/[\x21\x22\x24-\x3e\x40-\x7e]*", "is no path; it starts with / and holds no space, ? or #")
    ] = "/"
    """Matches whole segments: `/a` matches `/a` and `/a/b`, not `/ab`."""
    host: Annotated[
        str,
        Shape(
            r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])?",
            "is no host; write it without scheme, port and wildcard, such as refunds.example.com",
        ),
    ] = ""
    """Of the Host header; ports and case are not compared."""
    methods: Words[Method] = frozenset()
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Each must be there with exactly this value."""

    @field_validator("host")
    @classmethod
    def lower(cls, host: str) -> str:
        return host.lower()


class Route(Section):
    name: Name
    match: Match = Match()
    legacy: Name
    """The upstream that is the human workflow."""
    upgrades: Words[Literal["websocket"]] = frozenset({"websocket"})
    """Protocols that a connection may change to. An Upgrade to another one is not passed on."""
    rollout: Rollout | None = None


def _parse_workers(value: Any) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    try:
        workers = parse_whole(value)
    except UnfitError:
        workers = 0
    if not 1 <= workers <= 256:
        raise UnfitError("is neither auto nor a whole number from 1 to 256")
    return workers


class Config(Section):
    """Crossfade's configuration. References such as ${VAR} may stand for any value and are filled in first."""

    listen: Listen = Listen()
    admin: Admin = Admin()
    workers: Annotated[Annotated[int, Field(ge=1, le=256)] | Literal["auto"], BeforeValidator(_parse_workers)] = 1
    """Worker processes; auto is one per CPU."""
    store: Annotated[str, AfterValidator(check_store), PlainSerializer(mask_store, when_used="json")] = Field(
        default="embedded", repr=False
    )
    """`embedded`, `redis://host:port/db`, `redis+sentinel://host:port,host:port/service`,
    `redis+cluster://host:port,host:port`, the same with `rediss` for TLS, or `unix:///path`."""
    data_dir: Annotated[str, Field(min_length=1)] = "./data"
    """Where the embedded store and the spool keep their files."""
    drain_delay: Duration = 0.0
    """How long to serve on after SIGTERM, new connections too, while readiness fails already."""
    drain_timeout: PositiveDuration = 30.0
    """How long requests under way may then take to finish."""
    limits: Limits = Limits()
    override: Override | None = None
    encryption: Encryption | None = None
    """Without it, what is recorded is stored as it is."""
    escalations: Escalations = Escalations()
    traces: Traces = Traces()
    upstreams: dict[Name, Upstream] = Field(min_length=1)
    routes: tuple[Route, ...] = Field(min_length=1)
