"""The configuration's schema: frozen pydantic models, unknown keys refused, each default a safe one.

The example with every key explained is `config/crossfade.yaml`. What fields have in common is in `fields` and `units`;
the way in is in `listen_schema`, an upstream in `upstream_schema`, a route's rollout in `rollout_schema`; what takes
more than one section to see is in `checks`. The sentence of an UnfitError has no subject (see there).
"""

import re
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import parse_qsl

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator

from proxy.config.fields import (
    MASK,
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


_STORE: Final = re.compile(r"(redis|rediss)://[^/?#\s]+(/\d*)?(\?\S*)?|unix://\S+")
_STORE_OPTIONS: Final = ("db", "username", "password")
_TLS_OPTIONS: Final = (
    "ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile", "ssl_password",
)  # fmt: skip
"""What may follow a store's `?`: where it is, who we are, whom we trust. How it is spoken to is Crossfade's own."""


def mask_store(store: str) -> str:
    """The store's URL, fit to be shown: its user and password are masked, in the authority and in the query."""
    return re.sub(r"(?<=://).*@", f"{MASK}@", re.sub(r"((?:password|username)=)[^&]*", rf"\g<1>{MASK}", store))


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
    store: Annotated[str, PlainSerializer(mask_store, when_used="json")] = Field(default="embedded", repr=False)
    """`embedded`, `redis://host:port/db`, `rediss://…` or `unix:///path`."""
    data_dir: Annotated[str, Field(min_length=1)] = "./data"
    """Where the embedded store and the spool keep their files."""
    drain_delay: Duration = 0.0
    """How long to serve on after SIGTERM, new connections too, while readiness fails already."""
    drain_timeout: PositiveDuration = 30.0
    """How long requests under way may then take to finish."""
    limits: Limits = Limits()
    override: Override | None = None
    upstreams: dict[Name, Upstream] = Field(min_length=1)
    routes: tuple[Route, ...] = Field(min_length=1)

    @field_validator("store")
    @classmethod
    def check_store(cls, store: str) -> str:
        if re.match(r"rediss?\+(sentinel|cluster)://", store):
            raise UnfitError("asks for Sentinel or Cluster, which are not built yet; write redis://host:port/db")
        if store != "embedded" and _STORE.fullmatch(store) is None:
            raise UnfitError("must be embedded, redis://host:port/db, rediss://… or unix:///path")
        options = (*_STORE_OPTIONS, *(_TLS_OPTIONS if store.startswith("rediss:") else ()))
        for name, _ in parse_qsl(store.partition("?")[2], keep_blank_values=True):
            if name not in options:
                raise UnfitError(f"has the option {name[:40]!r}, which is none of {', '.join(options)}")
        return store
