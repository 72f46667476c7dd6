"""The table of phases. What is not in it is not possible, and asking for it raises CommandError.

Rules the table keeps: every phase with traffic on the agent has a way to `degraded` (rollback, abort); the only way out
of `degraded` is an operator's `retry` or a new version (begin); nothing leaves `paused` by itself except to `degraded`.
"""

from enum import StrEnum
from typing import Final

from proxy.model.errors import CommandError
from proxy.model.words import Phase, Verb


class Move(StrEnum):
    """What moves a rollout; also the `kind` of its events. The operator's verbs bear the names of `Verb`; `pause` may
    also come from gates, `rollback` from gates and guard: an event's actor says from whom."""

    BEGIN = "begin"
    ADVANCE = "advance"
    COMPLETE = "complete"
    ROLLBACK = "rollback"
    REPLAN = "replan"
    PROMOTE = "promote"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    RETRY = "retry"


_TABLE: Final[dict[Phase, dict[Move, Phase]]] = {
    Phase.STAGING: {
        Move.BEGIN: Phase.PROGRESSING,
    },
    Phase.PROGRESSING: {
        Move.BEGIN: Phase.PROGRESSING,
        Move.ADVANCE: Phase.PROGRESSING,
        Move.COMPLETE: Phase.COMPLETED,
        Move.REPLAN: Phase.PROGRESSING,
        Move.PROMOTE: Phase.PROGRESSING,
        Move.PAUSE: Phase.PAUSED,
        Move.ABORT: Phase.DEGRADED,
        Move.ROLLBACK: Phase.DEGRADED,
    },
    Phase.PAUSED: {
        Move.BEGIN: Phase.PROGRESSING,
        Move.REPLAN: Phase.PAUSED,
        Move.PROMOTE: Phase.PROGRESSING,  # as elsewhere in this trade, promoting ends the pause
        Move.RESUME: Phase.PROGRESSING,
        Move.ABORT: Phase.DEGRADED,
        Move.ROLLBACK: Phase.DEGRADED,
    },
    Phase.DEGRADED: {
        Move.BEGIN: Phase.PROGRESSING,
        Move.REPLAN: Phase.DEGRADED,
        Move.ROLLBACK: Phase.DEGRADED,  # several workers may trip for one fault
        Move.RETRY: Phase.PROGRESSING,
    },
    Phase.COMPLETED: {
        Move.BEGIN: Phase.PROGRESSING,
        Move.REPLAN: Phase.COMPLETED,
        Move.ABORT: Phase.DEGRADED,
        Move.ROLLBACK: Phase.DEGRADED,
    },
}


def following(phase: Phase, move: Move) -> Phase:
    """The phase after `move`. Raises CommandError, naming the verbs that are allowed, where the table has none."""
    try:
        return _TABLE[phase][move]
    except KeyError:
        verbs = allowed(phase)
        hint = f"; what can be done now: {', '.join(verbs)}" if verbs else ""
        raise CommandError(f"cannot {move} a rollout that is {phase}{hint}", verbs) from None


def allowed(phase: Phase) -> tuple[str, ...]:
    """The operator's verbs that `phase` allows."""
    return tuple(verb.value for verb in Verb if Move(verb.value) in _TABLE[phase])
