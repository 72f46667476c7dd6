"""The configuration's schema: frozen pydantic models, unknown keys refused, each default a safe one.

The example with every key explained is `config/crossfade.yaml`. What fields have in common is in `fields` and `units`;
a route's rollout is in `rollout_schema`; what takes more than one section to see is in `checks`. The sentence of an
UnfitError has no subject (see there).
"""

import re
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator

from proxy.config.fields import (
    MASK,
    Address,
    HeaderName,
    HeaderValue,
    ListenAddress,
    Method,
    Name,
    Network,
    Secret,
    Section,
    Shape,
    Words,
)
from proxy.config.rollout_schema import Rollout
from proxy.config.units import (
    Duration,
    PositiveDuration,
    PositiveSize,
    Share,
    Size,
    UnfitError,
    Whole,
    parse_whole,
)

__all__ = [
    "Address", "Admin", "Config", "Limits", "Listen", "Match", "Retry", "Rollout", "Route", "Timeouts", "Upstream",
    "mask_store",
]  # fmt: skip

_NO_TLS: Final = "is not built yet; keep the admin side on loopback, or terminate TLS in front of it"


def _version(value: Any) -> str:
    """1.2 is a number in YAML."""
    if str(value) not in ("1.2", "1.3"):
        raise UnfitError("is no version of TLS that is safe; write 1.2 or 1.3")
    return str(value)


FilePath = Annotated[
    str,
    Field(min_length=1, max_length=4096),
    Shape(r"[^\x00-\x1f\x7f]*", "must be the name of a file, not what is in it; write /etc/…, without ${file:…}"),
]
"""Read when it is put to use; relative to the working directory."""
TlsVersion = Annotated[Literal["1.2", "1.3"], BeforeValidator(_version)]


class ListenTls(Section):
    """TLS towards clients. The files are read again when they change; open connections stay."""

    cert_file: FilePath
    """The certificate, then its intermediates, in PEM."""
    key_file: FilePath
    client_ca_file: FilePath | None = None
    """The CAs of clients' certificates. Their subject is told to the arms as x-crossfade-client-subject."""
    client_auth: Literal["required", "optional"] | None = None
    """Whether a client must show a certificate, where client_ca_file is given. Left out, it must."""
    min_version: TlsVersion = "1.2"


class Listen(Section):
    """Where users' requests come in."""

    address: ListenAddress = Address(host="0.0.0.0", port=8080)
    tls: ListenTls | None = None
    access_log: bool = False
    """One log line per request."""
    trusted_proxies: Annotated[tuple[Network, ...], Field(max_length=1024)] = ()
    """Addresses whose X-Forwarded-* and Forwarded headers, and PROXY headers, are believed."""
    proxy_protocol: bool = False
    """Each connection starts with a PROXY header, version 1 or 2, and comes from one of trusted_proxies; others are
    closed."""
    underscore_headers: bool = False
    """Pass on headers whose name holds an underscore. Many servers read `a_b` and `a-b` as one."""


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


class Limits(Section):
    """What a worker bears of its clients."""

    max_target: PositiveSize = 8 << 10
    """Of the request line's target; beyond it 414."""
    max_header_bytes: PositiveSize = 32 << 10
    """Of a request's header section; beyond it 431."""
    max_headers: Whole = Field(default=100, ge=1, le=10_000)
    """Fields in a request's header section; beyond it 431."""
    max_body: Size = 0
    """Of a request's body; beyond it 413. 0: no limit."""
    header_timeout: PositiveDuration = 10.0
    """From a request's first byte to the end of its header section; beyond it 408."""
    body_timeout: PositiveDuration = 30.0
    """The longest silence within a request's body; beyond it 408."""
    min_body_rate: Size = 240
    """Bytes a second that a request's body must come with, on average, after its first `body_timeout`; below it 408."""
    idle_timeout: PositiveDuration = 75.0
    """How long a client's connection may rest between requests."""
    max_requests: Whole = Field(default=10_000, ge=0, le=1_000_000_000)
    """Requests on one connection; the last answer closes it. 0: no limit."""
    max_connections: Whole = Field(default=10_000, ge=1, le=1_000_000)
    """Client connections of one worker; beyond it 503."""
    max_connections_per_address: Whole = Field(default=2_000, ge=0, le=1_000_000)
    """Client connections of one worker from one address other than trusted proxies; beyond it 503. 0: no limit."""


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
