"""What a worker decides by: immutable and numbered. A request keeps the one it started with.

The control process makes a snapshot from the configuration and the rollouts' states; it crosses the link as JSON
(`encode`, `decode`). Times are seconds, sizes bytes, weights and shares of traffic thousandths of a percent (0 to
`BUCKETS`).
"""

from dataclasses import dataclass, field
from functools import cache

import orjson
from pydantic import TypeAdapter

from proxy.model.words import Failure, Phase

BUCKETS = 100_000
"""Number of buckets. Weight w percent takes the buckets below w * 1000."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `connect`: until connected, TLS included. `response`: from the request's end to the answer's head.
    `idle`: the longest silence within a body. `total`: from the request's first byte to the answer's last (0: no
    limit). `keep_alive`: how long a pooled connection may rest. `tunnel`: the longest silence in a tunnel."""

    connect: float = 1.0
    response: float = 60.0
    idle: float = 60.0
    total: float = 0.0
    keep_alive: float = 4.0
    tunnel: float = 300.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Tries after the first one. `budget` is the share of requests that may be retried (0 to 1). Before the n-th of
    them a random time of up to `backoff` * 2^(n-1) seconds passes."""

    attempts: int = 0
    on: frozenset[str] = frozenset()
    budget: float = 0.2
    backoff: float = 0.025


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """TLS to an upstream. Empty names are the system's CAs, no client certificate, the URL's host. `digest` is of the
    files' content: another one is another connection pool."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    min_version: str = "1.2"
    insecure_skip_verify: bool = False
    digest: str = ""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A GET of `path` each `interval` seconds. `unhealthy` bad ones in a row make an upstream unhealthy, `healthy` good
    ones healthy again; good is a 2xx within `timeout` seconds."""

    path: str
    interval: float = 5.0
    timeout: float = 1.0
    unhealthy: int = 3
    healthy: int = 2


CREDENTIALS = ("authorization", "cookie", "proxy-authorization")
"""The client's headers that an agent does not get unless `remove_headers` says otherwise."""


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """A named HTTP endpoint. `set_headers` may hold credentials, so it is kept out of `repr`. `remove_headers` None:
    CREDENTIALS where it is an agent, nothing where it is legacy. `max_inflight` (0: no limit) and `max_queue` are per
    worker; `queue_timeout` is how long a request may wait for its turn."""

    name: str
    host: str
    port: int
    tls: UpstreamTls | None = None
    base_path: str = ""
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    set_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    remove_headers: tuple[str, ...] | None = None
    max_idle: int = 256
    max_inflight: int = 1024
    max_queue: int = 1024
    queue_timeout: float = 5.0
    health_check: HealthCheck | None = None


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a targeting key is looked for: kind is `header`, `cookie`, `query` or `client_ip` (then name is empty)."""

    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class ShadowSpec:
    """`share` of BUCKETS is copied; the bounds are per worker. `timeout` is for the whole copy. `repeat` of BUCKETS is
    the share of copies that are sent again. `set_headers` are of copies alone."""

    share: int = BUCKETS
    max_body: int = 1 << 20
    max_pending: int = 256
    max_pending_bytes: int = 64 << 20
    timeout: float = 30.0
    repeat: int = 0
    set_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class FallbackSpec:
    """On which failures legacy gets the request; a request body over `max_body` cannot be sent again."""

    on: frozenset[Failure] = frozenset(Failure)
    max_body: int = 1 << 20


@dataclass(frozen=True, slots=True)
class EscalateSpec:
    """How an agent says that it cannot. `confidence_path` is empty where no confidence is read."""

    header: str = "x-crossfade-escalate"
    confidence_path: str = ""
    confidence_below: float = 0.0


@dataclass(frozen=True, slots=True)
class RecordSpec:
    """What is recorded: a share of BUCKETS, bodies up to `max_body`, headers by allow-list (lower case); that of the
    decision, where a header has it, is among them."""

    share: int = BUCKETS
    max_body: int = 64 << 10
    headers: tuple[str, ...] = ("content-type",)


@dataclass(frozen=True, slots=True)
class BreakerSpec:
    """`reference` is the error rate that is normal here (never below 5 %); `connect_failures` in a row trip at once."""

    reference: float = 0.05
    connect_failures: int = 10


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """One agent version on one route, with the weight that the stage machine gave it.

    `epoch` counts the rollout's fresh starts (see `RolloutState`): a trip of the breaker holds for its epoch, and a
    snapshot with a later one lifts it.
    """

    agent: str
    version: str
    stage: str
    phase: Phase
    epoch: int
    weight: int
    key: tuple[KeySource, ...]
    salt: str
    shadow: ShadowSpec = ShadowSpec()
    fallback: FallbackSpec = FallbackSpec()
    escalate: EscalateSpec = EscalateSpec()
    record: RecordSpec = RecordSpec()
    breaker: BreakerSpec = BreakerSpec()
    slower_than: float = 0.0
    audit: int = 0
    """Share of BUCKETS of what the agent serves that is copied to legacy."""


@dataclass(frozen=True, slots=True)
class MatchSpec:
    """What a route matches. Empty host, methods and headers match everything; header names are lower case."""

    path_prefix: str = "/"
    host: str = ""
    methods: frozenset[str] = frozenset()
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RouteSpec:
    name: str
    match: MatchSpec
    legacy: str
    rollout: RolloutSpec | None = None
    upgrades: frozenset[str] = frozenset({"websocket"})
    """Protocols (lower case) that a connection may change to."""


@dataclass(frozen=True, slots=True)
class CallbackSpec:
    """Requests below `path_prefix` (whole segments, of `host` where it is given) bring late decisions for `route`."""

    route: str
    path_prefix: str
    host: str = ""
    max_body: int = 64 << 10


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """The link by which a human finds an escalation: `url` is of the admin side, `secret` signs, it works for `valid`
    seconds. Empty: none is given."""

    url: str = ""
    secret: str = field(default="", repr=False)
    valid: float = 0.0


@dataclass(frozen=True, slots=True)
class SealingKey:
    """`key` is base64."""

    id: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a rollout stands, as far as traffic is concerned: what the stage machine hands to the snapshot."""

    version: str
    stage: str
    phase: Phase
    epoch: int
    weight: int
    shadow: int
    """Share of BUCKETS that is copied to the agent."""
    reference: float = 0.05
    """The error rate that is normal here, for the workers' breakers (see `BreakerSpec`)."""


@dataclass(frozen=True, slots=True)
class LimitsSpec:
    """What a worker bears of its clients. Bytes and seconds."""

    max_target: int = 8 << 10
    max_header_bytes: int = 32 << 10
    max_headers: int = 100
    max_body: int = 0  # 0: no limit
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    min_body_rate: int = 240  # bytes a second, once body_timeout has passed; 0: none
    idle_timeout: float = 75.0
    max_requests: int = 10_000  # on one connection; 0: no limit
    max_connections: int = 10_000
    max_connections_per_address: int = 2_000  # 0: no limit


@dataclass(frozen=True, slots=True)
class ListenTls:
    """TLS towards clients. `client_auth` is `none`, `optional` or `required`; with `client_ca_file`. `digest` is of the
    files' content: another one makes the listener anew."""

    cert_file: str
    key_file: str
    client_ca_file: str = ""
    client_auth: str = "none"
    min_version: str = "1.2"
    digest: str = ""


@dataclass(frozen=True, slots=True)
class ListenSpec:
    """How clients are heard. `trusted_proxies` are networks (CIDR) whose X-Forwarded-*, Forwarded and PROXY headers are
    believed. `underscore_headers`: names with an underscore are passed on."""

    tls: ListenTls | None = None
    proxy_protocol: bool = False
    trusted_proxies: tuple[str, ...] = ()
    underscore_headers: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`override_secret` signs the testers' header (empty: no override). The first key of `sealing` seals what workers
    put on disk, all open it."""

    number: int
    routes: tuple[RouteSpec, ...]
    upstreams: tuple[UpstreamSpec, ...]
    limits: LimitsSpec = LimitsSpec()
    listen: ListenSpec = ListenSpec()
    access_log: bool = False
    override_secret: str = field(default="", repr=False)
    callbacks: tuple[CallbackSpec, ...] = ()
    link: LinkSpec = LinkSpec()
    sealing: tuple[SealingKey, ...] = ()


@cache
def _adapter() -> TypeAdapter[Snapshot]:
    return TypeAdapter(Snapshot)


def encode(snapshot: Snapshot) -> bytes:
    """The snapshot as JSON, secrets included: for the link only."""
    return orjson.dumps(snapshot, default=sorted)


def decode(data: bytes) -> Snapshot:
    """The snapshot that `encode` wrote. Raises pydantic.ValidationError on anything else."""
    return _adapter().validate_json(data)
