"""The table of phases: what is possible, what is refused, and what the refusal tells."""

from itertools import product

import pytest

from proxy.model.errors import CommandError
from proxy.model.words import Phase, Verb
from proxy.rollout.machine import Move, allowed, following

POSSIBLE = {
    (Phase.STAGING, Move.BEGIN): Phase.PROGRESSING,
    (Phase.PROGRESSING, Move.BEGIN): Phase.PROGRESSING,
    (Phase.PROGRESSING, Move.ADVANCE): Phase.PROGRESSING,
    (Phase.PROGRESSING, Move.COMPLETE): Phase.COMPLETED,
    (Phase.PROGRESSING, Move.REPLAN): Phase.PROGRESSING,
    (Phase.PROGRESSING, Move.PROMOTE): Phase.PROGRESSING,
    (Phase.PROGRESSING, Move.PAUSE): Phase.PAUSED,
    (Phase.PROGRESSING, Move.ABORT): Phase.DEGRADED,
    (Phase.PROGRESSING, Move.ROLLBACK): Phase.DEGRADED,
    (Phase.PAUSED, Move.BEGIN): Phase.PROGRESSING,
    (Phase.PAUSED, Move.REPLAN): Phase.PAUSED,
    (Phase.PAUSED, Move.PROMOTE): Phase.PROGRESSING,
    (Phase.PAUSED, Move.RESUME): Phase.PROGRESSING,
    (Phase.PAUSED, Move.ABORT): Phase.DEGRADED,
    (Phase.PAUSED, Move.ROLLBACK): Phase.DEGRADED,
    (Phase.DEGRADED, Move.BEGIN): Phase.PROGRESSING,
    (Phase.DEGRADED, Move.REPLAN): Phase.DEGRADED,
    (Phase.DEGRADED, Move.ROLLBACK): Phase.DEGRADED,
    (Phase.DEGRADED, Move.RETRY): Phase.PROGRESSING,
    (Phase.COMPLETED, Move.BEGIN): Phase.PROGRESSING,
    (Phase.COMPLETED, Move.REPLAN): Phase.COMPLETED,
    (Phase.COMPLETED, Move.ABORT): Phase.DEGRADED,
    (Phase.COMPLETED, Move.ROLLBACK): Phase.DEGRADED,
}


@pytest.mark.parametrize(("phase", "move"), list(product(Phase, Move)))
def test_every_phase_and_move(phase: Phase, move: Move) -> None:
    if (phase, move) in POSSIBLE:
        assert following(phase, move) is POSSIBLE[phase, move]
    else:
        with pytest.raises(CommandError):
            following(phase, move)


def test_a_refusal_names_what_can_be_done() -> None:
    with pytest.raises(CommandError) as refused:
        following(Phase.DEGRADED, Move.PROMOTE)
    assert str(refused.value) == "cannot promote a rollout that is degraded; what can be done now: retry"
    assert refused.value.allowed == ("retry",)


@pytest.mark.parametrize(
    ("phase", "verbs"),
    [
        (Phase.STAGING, ()),
        (Phase.PROGRESSING, ("promote", "pause", "abort")),
        (Phase.PAUSED, ("promote", "resume", "abort")),
        (Phase.DEGRADED, ("retry",)),
        (Phase.COMPLETED, ("abort",)),
    ],
)
def test_verbs_of_a_phase(phase: Phase, verbs: tuple[str, ...]) -> None:
    assert allowed(phase) == verbs


def test_every_verb_is_a_move() -> None:
    assert {verb.value for verb in Verb} <= {move.value for move in Move}
