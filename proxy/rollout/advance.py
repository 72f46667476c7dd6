"""The step of a rollout: state, evidence or a command, and `now` in; the new state and an event for its history out.

Rules kept here:
- weight on the agent rises only by a stage whose gates all passed, by an operator's verb or by the configuration;
- a rollback takes all weight at once and leaves the shadow, so that evidence keeps coming; nothing holds it up, no
  pause and no freeze;
- evidence is added up only where it was seen alike: a configuration that changes the stage, its weight or what is
  counted as what begins a new epoch where the rollout stands, with no soak (a degraded one has a `retry` for that);
- soak grows only by `elapsed` time that the caller saw pass while the rollout progressed: a restart adds none;
- `revision` goes up by one exactly where there is an event. Grown soak alone is kept by `checkpoint`.

What a gate that did not pass does:
- failed, it rolls back at once, also what serves while it is paused; or with `on_failure: pause` it pauses;
- inconclusive, it is waited for; or with `on_inconclusive: pause` it pauses, once the stage has soaked. Where only the
  calendar or an operator's approval is missing, there is nothing to be found out, and no pause;
- a pause by gates ends the soak, so that whoever resumes gives the stage another time of the same length, in which
  failed gates do not pause it again. (An operator's own pause keeps the soak.)

In a shadow stage a rollback has no weight to take, and is right all the same: the version has failed its examination
before any user met it. Holding it there would look like waiting, and could end in a promotion only if what surely
failed were diluted; so it ends in `degraded`, which is told and waited for as elsewhere, evidence keeps coming, and an
operator's `retry` examines it anew.
"""

from dataclasses import replace
from typing import Final, NamedTuple

from proxy.model.errors import CommandError
from proxy.model.rollouts import Event, Evidence, GateResult, RolloutState, Users
from proxy.model.words import Phase, Verb, Verdict
from proxy.rollout import machine
from proxy.rollout.gates import evaluate
from proxy.rollout.machine import Move
from proxy.rollout.plan import SPLIT_STAGE, Plan
from proxy.rollout.waiting import UNDECIDED_BY_EVIDENCE

BY_CONFIG: Final = "configuration"
BY_GATES: Final = "gates"
BY_GUARD: Final = "guard"
"""Actors of the moves that no operator made."""


class Step(NamedTuple):
    """What a step gave. Without an `event` nothing moved; `state` may then have grown its soak."""

    state: RolloutState
    event: Event | None = None
    gates: tuple[GateResult, ...] = ()


class _Cause(NamedTuple):
    """Who or what moves the rollout, why, when, and on which gates."""

    move: Move
    actor: str
    reason: str
    now: float
    gates: tuple[GateResult, ...] = ()


def begin(plan: Plan, previous: RolloutState | None, now: float) -> Step:
    """Start the plan's version at its first stage: the route's first rollout (`previous` is None), or a new version."""
    reason = f"version {plan.version} begins"
    if previous is None:
        previous = RolloutState(plan.route, "", Phase.STAGING, 0, "", 0, 0, epoch=0, revision=0, since=now)
    elif previous.version != plan.version:
        reason += f" after {previous.version}"
    return _start(plan, previous, _Cause(Move.BEGIN, BY_CONFIG, reason, now))


def advance(plan: Plan, state: RolloutState, evidence: Evidence, users: Users, elapsed: float, now: float) -> Step:
    """One tick: `elapsed` seconds have passed since the last one, `evidence` and `users` are all that was seen at this
    stage.

    Moves at most one stage on, when every gate passed. A rollout that does not progress never goes on, and one under a
    fixed split stays where it is; so does one that the plan does not know (another version must `begin`, other stages
    be `replan`ned).
    """
    if plan.version != state.version or (plan.split is None and state.stage >= len(plan.stages)):
        return Step(state)
    if state.phase is Phase.PROGRESSING and plan.split is None:
        state = replace(state, soaked=state.soaked + max(0.0, elapsed))
    results = evaluate(plan, state, evidence, users, now)
    if state.phase not in (Phase.PROGRESSING, Phase.PAUSED) or plan.split is not None:
        return Step(state, None, results)
    binding = [result for result in results if not result.dry_run]
    if failed := [result for result in binding if result.verdict is Verdict.FAILED]:
        return _failed(plan, state, failed, _Cause(Move.ROLLBACK, BY_GATES, "", now, results))
    if state.phase is Phase.PAUSED:
        return Step(state, None, results)
    missing = [result for result in binding if result.verdict is not Verdict.PASSED]
    if not missing:
        cause = _Cause(Move.ADVANCE, BY_GATES, f"all gates of stage {state.stage_name} passed", now, results)
        return _onward(plan, state, state.stage + 1, cause)
    unknown = [result for result in missing if result.name not in UNDECIDED_BY_EVIDENCE]
    if unknown and plan.pause_on_inconclusive and _has_soaked(plan, state):
        reason = f"the stage has soaked, and is undecided: {_told(unknown)}"
        return _pause(state, _Cause(Move.PAUSE, BY_GATES, reason, now, results))
    return Step(state, None, results)


def command(
    plan: Plan,
    state: RolloutState,
    verb: Verb,
    *,
    actor: str,
    reason: str,
    now: float,
    full: bool = False,
    gates: tuple[GateResult, ...] = (),
) -> Step:
    """Do an operator's verb. `full` goes with promote: straight to the last stage. `gates` are the gates as they
    stand, for the history. Raises CommandError where the phase does not allow the verb."""
    cause = _Cause(Move(verb.value), actor, reason, now, gates)
    phase = machine.following(state.phase, cause.move)
    match verb:
        case Verb.PROMOTE:
            _refuse_split(plan, state)
            return _onward(plan, state, max(plan.last, state.stage + 1) if full else state.stage + 1, cause)
        case Verb.RETRY:
            return _start(plan, state, cause)
        case Verb.ABORT:
            return _roll_back(plan, state, cause)
        case Verb.PAUSE | Verb.RESUME:
            return _step(state, replace(state, phase=phase, since=now), cause)


def rollback(plan: Plan, state: RolloutState, reason: str, now: float, gates: tuple[GateResult, ...] = ()) -> Step:
    """Take all traffic from the agent because a guard or a breaker says so. Changes nothing where that is done. `gates`
    are the guard's results, for the history."""
    if state.phase is Phase.DEGRADED:
        return Step(state)
    return _roll_back(plan, state, _Cause(Move.ROLLBACK, BY_GUARD, reason, now, gates))


def replan(plan: Plan, state: RolloutState, now: float) -> Step:
    """Follow a changed configuration of the same version: stages, weights, shadow, split, or how it is measured.

    The stage is found again by its name; where that is gone, it is the furthest earlier one that gives no more weight
    than now, so that renaming raises no traffic. Without a change there is no event.
    """
    placed = _place(plan, state, _same_stage(plan, state))
    phase = machine.following(state.phase, Move.REPLAN)
    if phase is Phase.COMPLETED and (not plan.stages or placed.stage < plan.last):
        phase = Phase.PROGRESSING  # there is somewhere to go again
    if phase is Phase.DEGRADED:
        placed = replace(placed, weight=0)
    anew = phase is not Phase.DEGRADED and _seen_otherwise(state, placed)
    if not anew:
        placed = replace(placed, soaked=state.soaked, warned=state.warned, measured=state.measured)
    kept = not anew and placed.stage_name == state.stage_name and phase is state.phase
    moved = replace(
        placed, phase=phase, epoch=state.epoch + 1 if anew else state.epoch, since=state.since if kept else now
    )
    if moved == state:
        return Step(state)
    reason = "the configuration changed"
    if anew:
        reason += ": what was seen so far no longer counts"
    return _step(state, moved, _Cause(Move.REPLAN, BY_CONFIG, reason, now))


def checkpoint(state: RolloutState) -> RolloutState:
    """The state to save where only its soak has grown."""
    return replace(state, revision=state.revision + 1)


def _start(plan: Plan, state: RolloutState, cause: _Cause) -> Step:
    """From the first stage, in a new epoch: earlier evidence and earlier trips of the breaker no longer count."""
    phase = machine.following(state.phase, cause.move)
    placed = _place(plan, replace(state, version=plan.version, epoch=state.epoch + 1), 0)
    return _step(state, replace(placed, phase=phase, since=cause.now), cause)


def _onward(plan: Plan, state: RolloutState, target: int, cause: _Cause) -> Step:
    """Go to stage `target`. Past the last one, or into a last one that has no soak to hold, the rollout is complete."""
    stage = min(target, plan.last)
    phase = machine.following(state.phase, cause.move)
    if target > plan.last or (stage == plan.last and plan.stages[stage].soak <= 0):
        phase = machine.following(phase, Move.COMPLETE)
        if cause.move is Move.ADVANCE:
            cause = cause._replace(move=Move.COMPLETE)
    placed = _place(plan, state, stage) if stage != state.stage else state
    return _step(state, replace(placed, phase=phase, since=cause.now), cause)


def _failed(plan: Plan, state: RolloutState, failed: list[GateResult], cause: _Cause) -> Step:
    """What `on_failure` says. `cause` is that of the rollback."""
    cause = cause._replace(reason=f"failed: {_told(failed)}")
    paused = state.phase is Phase.PAUSED
    if not plan.pause_on_failure:
        return Step(state, None, cause.gates) if paused and state.weight == 0 else _roll_back(plan, state, cause)
    if paused or (state.warned and not _has_soaked(plan, state)):
        return Step(state, None, cause.gates)
    return _pause(state, cause._replace(move=Move.PAUSE))


def _pause(state: RolloutState, cause: _Cause) -> Step:
    """A pause by gates: see above what becomes of the soak."""
    phase = machine.following(state.phase, cause.move)
    return _step(state, replace(state, phase=phase, soaked=0.0, warned=True, since=cause.now), cause)


def _has_soaked(plan: Plan, state: RolloutState) -> bool:
    return state.soaked >= plan.stages[state.stage].soak


def _told(results: list[GateResult]) -> str:
    """The first of the gates with its reason, and the names of the others."""
    first, *others = results
    also = f" (and {', '.join(result.name for result in others)})" if others else ""
    return f"{first.name}: {first.reason}{also}"


def _roll_back(plan: Plan, state: RolloutState, cause: _Cause) -> Step:
    phase = machine.following(state.phase, cause.move)
    return _step(state, replace(state, phase=phase, weight=0, shadow=plan.shadow, since=cause.now), cause)


def _refuse_split(plan: Plan, state: RolloutState) -> None:
    if not plan.stages:
        others = tuple(verb for verb in machine.allowed(state.phase) if verb != Verb.PROMOTE.value)
        raise CommandError("cannot promote a fixed split; change split.weight in the configuration", others)


def _same_stage(plan: Plan, state: RolloutState) -> int:
    names = [stage.name for stage in plan.stages]
    if names[state.stage : state.stage + 1] == [state.stage_name]:
        return state.stage
    if state.stage_name in names and state.stage_name != SPLIT_STAGE:  # a stage may be called so and mean another thing
        return names.index(state.stage_name)
    lower = (index for index, stage in enumerate(plan.stages[: state.stage + 1]) if stage.weight <= state.weight)
    return max(lower, default=0)


def _seen_otherwise(before: RolloutState, after: RolloutState) -> bool:
    """Evidence of the one is none of the other: counts mean something else, or come from other shares of the traffic,
    whose sums are no comparison of the arms (Simpson's paradox)."""
    places = [(state.stage_name, state.weight, state.shadow) for state in (before, after)]
    known = before.measured and after.measured
    return places[0] != places[1] or bool(known and before.measured != after.measured)


def _place(plan: Plan, state: RolloutState, stage: int) -> RolloutState:
    """The state at a stage of the plan (or under its split), with no soak yet."""
    if plan.split is not None:
        name, weight = SPLIT_STAGE, plan.split.weight
    else:
        name, weight = plan.stages[stage].name, plan.stages[stage].weight
    return replace(
        state,
        stage=stage,
        stage_name=name,
        weight=weight,
        shadow=plan.shadow,
        soaked=0.0,
        warned=False,
        measured=plan.measured,
    )


def _step(before: RolloutState, after: RolloutState, cause: _Cause) -> Step:
    state = replace(after, revision=before.revision + 1, reason=cause.reason, actor=cause.actor)
    event = Event(
        at=cause.now,
        route=state.route,
        version=state.version,
        kind=cause.move.value,
        actor=cause.actor,
        reason=cause.reason,
        before=(before.phase.value, before.stage_name, before.weight),
        after=(state.phase.value, state.stage_name, state.weight),
        gates=cause.gates,
    )
    return Step(state, event, cause.gates)
