"""The measures a worker counts: family, its labels, its help. Their Prometheus names are `crossfade_` + family.

One table, so that worker (counts), control process (adds up over workers) and `/metrics` (exposes) cannot disagree.
`OUTCOMES` is the evidence of stages and guard, and is not exposed: epoch and stage would make it grow without bound.
"""

from enum import StrEnum
from typing import Final, NamedTuple


class Family(NamedTuple):
    """`least`: of a gauge that several workers report the least counts, instead of the sum."""

    name: str
    labels: tuple[str, ...]
    help: str
    least: bool = False


REQUESTS: Final = Family(
    "requests_total",
    ("route", "arm", "mode", "code"),
    "Answers, by arm and mode; those of mode shadow went to no client.",
)
SHADOW: Final = Family("shadow_total", ("route", "fate"), "Requests on a rollout's route, by the fate of their copy.")
FALLBACKS: Final = Family(
    "fallbacks_total", ("route", "reason"), "Requests the agent could not complete, so legacy did."
)
FALLBACKS_MISSED: Final = Family(
    "fallbacks_missed_total", ("route", "reason"), "Agent failures that legacy could not take over, and why."
)
DECISIONS: Final = Family(
    "decisions_total", ("route", "reason"), "Requests by the reason for their arm (`no_key`, ...)."
)
RETRIES: Final = Family("retries_total", ("upstream", "reason"), "Requests sent to an upstream once more.")
REFUSED: Final = Family("refused_total", ("error",), "Requests that the gateway itself answered with an error.")
CLIENT_GONE: Final = Family("client_gone_total", ("route",), "Requests whose client left before the answer's end.")
PAIRS_DROPPED: Final = Family("pairs_dropped_total", ("route", "reason"), "Records lost to a bound, and which.")
RECORDS: Final = Family(
    "records_total",
    ("route",),
    "Records of requests and callbacks that workers handed over, to be kept or counted as dropped.",
)
OVERRIDES: Final = Family(
    "overrides_total", ("result",), "Signed overrides of the arm: accepted, or why not (`expired`, `invalid`)."
)
CONNECTIONS_REFUSED: Final = Family(
    "connections_refused_total",
    ("reason",),
    "Client connections refused: `limit`, `address_limit`, `proxy_header`, `tls`.",
)
STRAYS: Final = Family(
    "upstream_strays_total",
    ("upstream",),
    "Idle connections closed because the upstream sent what nobody had asked for.",
)
HEALTH_CHECKS: Final = Family("health_checks_total", ("upstream", "result"), "Health checks: `passed`, `failed`.")
OUTCOMES: Final = Family(
    "outcomes", ("route", "version", "stage", "epoch", "arm", "result", "slot"), "Evidence for stages and guard."
)
OWED: Final = Family(
    "records_owed", ("route", "source", "seq"), "What an earlier life made and had not secured with its tick `seq`."
)
"""As OUTCOMES, it is for the control process alone."""
WORKER_KILLED: Final = "worker_killed"
"""The reason for which these are dropped."""
CAPPED: Final = Family(
    "outcomes_capped_total",
    ("route", "arm"),
    "Bad outcomes that are no evidence, because the same user had too many within a minute.",
)
CALLBACKS: Final = Family(
    "callbacks_total",
    ("route", "result"),
    "Requests below a callback's path: `read`, `too_large`, `refused` (by who should have taken it).",
)

COUNTERS: Final = (
    REQUESTS, SHADOW, FALLBACKS, FALLBACKS_MISSED, DECISIONS, RETRIES, REFUSED, CLIENT_GONE, PAIRS_DROPPED, RECORDS,
    OVERRIDES, CONNECTIONS_REFUSED, STRAYS, HEALTH_CHECKS, CAPPED, CALLBACKS,
)  # fmt: skip

FROM_ZERO: Final = {
    OVERRIDES.name: ("accepted", "expired", "invalid"),
    CONNECTIONS_REFUSED.name: ("limit", "address_limit", "proxy_header", "tls"),
}
"""Values of the one label of these families, shown from the start, so that the first of each is an increase."""

REQUEST_DURATION: Final = Family(
    "request_duration_seconds", ("route", "arm", "mode"), "From the request's head to its answer's end."
)
UPSTREAM_DURATION: Final = Family(
    "upstream_duration_seconds", ("upstream",), "From sending a request to an upstream to the head of its answer."
)
FIRST_BYTE: Final = Family(
    "first_byte_seconds",
    ("route", "arm", "mode"),
    "From sending a request to an arm to the first byte of its answer's body.",
)
HISTOGRAMS: Final = (REQUEST_DURATION, UPSTREAM_DURATION, FIRST_BYTE)

INFLIGHT: Final = Family("inflight_requests", (), "Requests under way.")
CONNECTIONS: Final = Family("upstream_connections", ("upstream", "state"), "Connections to an upstream: idle, active.")
CLIENTS: Final = Family("client_connections", (), "Open client connections.")
SHADOW_PENDING: Final = Family("shadow_pending", ("route",), "Shadow copies under way.")
QUEUE: Final = Family("upstream_queue", ("upstream",), "Requests that wait for their turn at an upstream.")
TUNNELS: Final = Family("tunnels", ("route", "arm"), "Connections that changed their protocol (WebSocket), open now.")
HEALTHY: Final = Family(
    "upstream_healthy",
    ("upstream",),
    "1 where every worker's health checks find the upstream healthy, else 0.",
    least=True,
)
GAUGES: Final = (INFLIGHT, CONNECTIONS, CLIENTS, SHADOW_PENDING, QUEUE, TUNNELS, HEALTHY)

BOUNDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0,
)  # fmt: skip
"""Upper bounds of the duration buckets, in seconds; one more bucket follows for what is slower."""

SLOT: Final = 0.2
"""Seconds of a slot, by which outcomes are booked when their request *arrived*: an outage that both arms share is not
blamed on the one that fails faster. Numbered by the machine's monotonic clock, which all its processes share."""


class Result(StrEnum):
    """Values of `result` in OUTCOMES. `slot` is that of the request's arrival; it is empty where it does not matter."""

    ARRIVED = "arrived"
    """Of the agent's: it serves, or has got a copy. Of legacy's: it serves because the request was drawn so."""
    OK = "ok"
    FAILED = "failed"
    """`ok` and `failed` end what arrived."""
    SLOW = "slow"
    """Those of the ended, of either kind, that took longer than `slower_than`."""
    WITHDRAWN = "withdrawn"
    """It arrived and is no evidence: its client went away, its arm was at its limits, its user failed too often."""
    DRAWN = "drawn"
    """It was drawn to this arm, to be served. Without a slot."""
    NO_KEY = "no_key"
    """Of legacy's that were drawn: without a key. Without a slot."""
    FALLBACK = "fallback"
    """Of legacy: it took over what the agent could not complete. Without a slot."""
    ESCALATED = "escalated"
    """Of the agent's that ended: handed over to the human. Without a slot."""


USER_BAD_PER_MINUTE: Final = 3
"""Bad outcomes of one user and arm in a minute that count; more are withdrawn, so that one user who repeats what fails
does not roll back everybody's."""
