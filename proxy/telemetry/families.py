"""What the control process itself counts: families, as `proxy.model.measures` has those of the workers."""

from typing import Final

from proxy.model.measures import Family

PAIRS: Final = Family("pairs_total", ("route", "verdict"), "Pairs compared, by what comparing them gave.")
ROLLBACKS: Final = Family("rollbacks_total", ("route", "reason"), "Rollouts rolled back, and what for.")
RELOADS: Final = Family("config_reloads_total", ("result",), "Configuration reloads, by result.")
REJECTED: Final = Family(
    "metrics_rejected_total",
    ("family", "reason"),
    "Reported series turned away: over the limit, or not of a known form.",
)
ROLLBACK_REASONS: Final = ("breaker", "error_rate", "latency", "gates", "operator")
LATE: Final = Family(
    "late_outcomes_total",
    ("route", "result"),
    "Humans' late decisions: `matched`, `mismatched`, `incomparable` (a pair was closed), `kept` (of a pair whose agent"
    " was not asked), `revised`, `duplicate` (it says what was known), `early` (its pair was not there yet),"
    " `unmatched` (it never came), `expired`, `gone` (its pair is no longer kept), `over_limit` (too many of one case),"
    " `malformed`, `no_route`, `spool_full`, `spool_failed`.",
)
SPANS: Final = Family(
    "spans_total",
    ("route", "result"),
    "Agents' spans: `kept`, `known` (sent again), `other` (of no kind that is kept), `unrelated` (of no request of"
    " ours), `repeat` (of a request that was repeated to measure noise), `over_limit` (their trace had enough),"
    " `erased`, `displaced` (kept, and gone before their time), `store_away`, `store_format`, `malformed`.",
)
STEPS_UNLOGGED: Final = Family("steps_unlogged_total", ("route",), "Agents' steps that were kept and not logged.")
SPANS_FORWARDED: Final = Family(
    "spans_forwarded_total", ("result",), "Spans for the collector behind us: `sent`, `failed`, `dropped`."
)
ESCALATIONS: Final = Family(
    "escalations_total", ("route", "reason"), "Requests handed over to the human, by why the agent could not."
)
WEBHOOKS: Final = Family(
    "escalation_webhooks_total", ("result",), "Tries to tell the human queue: `sent`, `retried`, `given_up`."
)
ERASED: Final = Family("pairs_erased_total", ("route",), "Pairs erased at a person's wish.")
UNREADABLE: Final = Family(
    "unreadable_total",
    ("of",),
    "Times that something sealed did not open, by the route that it is of, or `spool`: its key is gone, or it is"
    " damaged.",
)
CONTROL_COUNTERS: Final = (
    PAIRS, ROLLBACKS, RELOADS, REJECTED, LATE, SPANS, STEPS_UNLOGGED, SPANS_FORWARDED, ESCALATIONS, WEBHOOKS, ERASED,
    UNREADABLE,
)  # fmt: skip

AGREEMENT: Final = Family("agreement_ratio", ("route",), "Share of comparable pairs whose decisions match.")
AGREEMENT_BOUND: Final = Family(
    "agreement_lower_bound", ("route",), "Lower confidence bound of the agreement, valid at any time."
)
KEY_COVERAGE: Final = Family(
    "key_coverage_ratio", ("route",), "Share of the present stage's requests that carry a key, and so have a bucket."
)
SAMPLE_RATIO: Final = Family(
    "sample_ratio_evidence",
    ("route",),
    "Natural logarithm of the evidence that the split of users is not the one asked for; above 6.9 it is not.",
)
REPLICAS: Final = Family("replicas", (), "Replicas that are alive, as far as this one knows, itself included.")
LEADER: Final = Family("leader", (), "1 if this replica holds the lease, and so moves the stages.")
WEIGHT: Final = Family("rollout_weight_percent", ("route",), "Percent of users whom the agent serves.")
PHASE: Final = Family("rollout_phase", ("route", "phase"), "1 for the phase in which the rollout is, 0 for the others.")
RELOAD_OK: Final = Family("config_last_reload_successful", (), "1 if the last reload of the configuration was applied.")
STORE_UP: Final = Family("store_up", (), "1 if the store answers.")
SPOOL_BYTES: Final = Family("spool_bytes", (), "Bytes that wait on disk for the store.")
SPOOL_FRAMES: Final = Family("spool_frames", (), "Frames that wait on disk for the store.")
PENDING: Final = Family("pending_pairs", ("route",), "Pairs whose human has not decided yet.")
OUTCOMES_WAITING: Final = Family("late_outcomes_waiting", ("route",), "Late decisions that wait to be joined.")
WEBHOOKS_WAITING: Final = Family("escalation_webhooks_waiting", ("route",), "Escalations not told yet.")
CONSISTENCY: Final = Family(
    "self_consistency_ratio", ("route",), "Share of the requests asked twice to which the agent said the same."
)
CONTROL_GAUGES: Final = (
    AGREEMENT, AGREEMENT_BOUND, KEY_COVERAGE, SAMPLE_RATIO, WEIGHT, PHASE, REPLICAS, LEADER, RELOAD_OK, STORE_UP,
    SPOOL_BYTES, SPOOL_FRAMES, PENDING, OUTCOMES_WAITING, WEBHOOKS_WAITING, CONSISTENCY,
)  # fmt: skip
BUILD: Final = Family("build_info", ("version", "python"), "Always 1: which build runs.")

FROM_ZERO: Final = {
    RELOADS.name: ("success", "failure"),
    SPANS_FORWARDED.name: ("sent", "failed", "dropped"),
    WEBHOOKS.name: ("sent", "retried", "given_up"),
}
"""Values of the one label of these families, shown from the start."""
