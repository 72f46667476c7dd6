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
    """`connect`: until connected. `response`: from the request's end to the answer's head. `idle`: the longest silence
    within a body, and how long a pooled connection may rest."""

    connect: float = 1.0
    response: float = 60.0
    idle: float = 60.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Tries after the first one. `budget` is the share of requests that may be retried (0 to 1)."""

    attempts: int = 0
    on: frozenset[str] = frozenset()
    budget: float = 0.2


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """A named HTTP endpoint. `set_headers` may hold credentials, so it is kept out of `repr`."""

    name: str
    host: str
    port: int
    tls: bool = False
    base_path: str = ""
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    set_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    remove_headers: tuple[str, ...] = ()
    max_idle: int = 256


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a targeting key is looked for: kind is `header`, `cookie`, `query` or `client_ip` (then name is empty)."""

    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class ShadowSpec:
    """`share` of BUCKETS is copied; the bounds are per worker. `timeout` is for the whole copy."""

    share: int = BUCKETS
    max_body: int = 1 << 20
    max_pending: int = 256
    max_pending_bytes: int = 64 << 20
    timeout: float = 30.0


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
    """What is recorded: a share of BUCKETS, bodies up to `max_body`, headers by allow-list (lower case)."""

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

    `epoch` counts the rollout's fresh starts (new version, retry): a trip of the breaker holds for its epoch, and a
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


@dataclass(frozen=True, slots=True)
class LimitsSpec:
    """What a worker bears of its clients. Bytes and seconds."""

    max_target: int = 8 << 10
    max_header_bytes: int = 32 << 10
    max_headers: int = 100
    max_body: int = 0  # 0: no limit
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    idle_timeout: float = 75.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    number: int
    routes: tuple[RouteSpec, ...]
    upstreams: tuple[UpstreamSpec, ...]
    limits: LimitsSpec = LimitsSpec()
    access_log: bool = False


@cache
def _adapter() -> TypeAdapter[Snapshot]:
    return TypeAdapter(Snapshot)


def encode(snapshot: Snapshot) -> bytes:
    """The snapshot as JSON, secrets included: for the link only."""
    return orjson.dumps(snapshot, default=sorted)


def decode(data: bytes) -> Snapshot:
    """The snapshot that `encode` wrote. Raises pydantic.ValidationError on anything else."""
    return _adapter().validate_json(data)
