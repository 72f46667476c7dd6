"""The enumerations of the design: one word per thing, the same in code, config, metrics and documents."""

from enum import StrEnum


class Arm(StrEnum):
    """Who handles a request: the human workflow (the control) or the candidate."""

    LEGACY = "legacy"
    AGENT = "agent"


class Mode(StrEnum):
    """In which role an arm sees a request; sent to it as `x-crossfade-mode`."""

    LEGACY = "legacy"
    SHADOW = "shadow"
    CANARY = "canary"
    FALLBACK = "fallback"


class Fate(StrEnum):
    """What became of the shadow copy. Each request on a rollout's route has exactly one."""

    MIRRORED = "mirrored"
    SAMPLED_OUT = "sampled_out"
    DROPPED = "dropped"
    OVERSIZED = "oversized"
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    UPGRADED = "upgraded"
    """A connection that changes its protocol (WebSocket) is a conversation: a copy of it would act twice."""


class Reason(StrEnum):
    """Why a request went to the arm it went to."""

    NO_ROLLOUT = "no_rollout"
    NO_KEY = "no_key"
    BUCKET_IN = "bucket_in"
    BUCKET_OUT = "bucket_out"
    BREAKER = "breaker"
    OVERRIDE = "override"
    """A tester's signed header said so. What comes of it is no evidence: nobody drew that user."""


class Failure(StrEnum):
    """Why an arm did not complete a request; also the words of `fallback.on` (`5xx`, not `server_error`)."""

    CONNECT_FAILURE = "connect_failure"
    TIMEOUT = "timeout"
    RESET = "reset"
    OVERLOAD = "overload"
    """Its requests in flight, and those that wait for their turn, are at their limits."""
    SERVER_ERROR = "5xx"
    ESCALATION = "escalation"


class Phase(StrEnum):
    """Where a rollout stands. `degraded` is rolled back."""

    STAGING = "staging"
    PROGRESSING = "progressing"
    PAUSED = "paused"
    DEGRADED = "degraded"
    COMPLETED = "completed"


class Verdict(StrEnum):
    """The answer of a gate or guard. Inconclusive never promotes and never rolls back."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class Match(StrEnum):
    """What comparing the two arms' decisions gave."""

    MATCHED = "matched"
    MISMATCHED = "mismatched"
    INCOMPARABLE = "incomparable"
    PENDING = "pending"
    """The human has not decided yet: legacy said that the answer comes later."""
    EXPIRED = "expired"
    """The human's decision did not come in time."""


class Verb(StrEnum):
    """What an operator may ask of a rollout."""

    PROMOTE = "promote"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    RETRY = "retry"


class Process(StrEnum):
    """The roles of Crossfade's processes, as their titles and logs name them."""

    SUPERVISOR = "supervisor"
    WORKER = "worker"
    CONTROL = "control"
    STORE = "valkey"
