"""The product's own rules over drawn traffic: nothing of them is written here a second time."""

from random import Random

from benchmarks.simulate.flights import Flights
from benchmarks.simulate.peers import Rule
from benchmarks.simulate.traffic import SLOT, Series
from proxy.analysis.block import Block
from proxy.analysis.breaker import Breaker
from proxy.analysis.sequential import TwoArms
from proxy.config.rollout_schema import Rollout
from proxy.control.guard import Guard
from proxy.gateway.evidence import Ends, Tally
from proxy.gateway.shared import legacy_fails_too
from proxy.model.rollouts import RolloutState
from proxy.model.words import Arm, Mode, Phase, Verdict

MARGIN = 0.002
"""The guard's default for errors."""

ROLLOUT = Rollout.model_validate({"agent": "agent", "version": "1", "salt": "simulated"})
STATE = RolloutState("simulated", "1", Phase.PROGRESSING, 1, "canary", 5_000, 0, 1, 1, 0.0)

_NO_FALLBACK = Ends()
"""What legacy takes over is not simulated."""


def two_arms(series: Series, margin: float = MARGIN) -> float | None:
    """When the guard's test of two arms fires."""
    test = TwoArms(margin)
    before, asked = 0.0, True
    for end, agent, agent_bad, legacy, legacy_bad in series.rows():
        if not (agent or legacy):  # the guard is given no empty slots
            continue
        test.add(Block(end - before, agent, agent_bad, legacy, legacy_bad))
        before, asked = end, asked and not agent_bad
        if not asked:  # without a bad outcome of the agent nothing can fire
            if test.finding().fired:
                return end
            asked = bool(agent and legacy)  # or else the block is open, and may close with a later row
    return None


def guarded(flights: Flights) -> float | None:
    """When the guard rolls back that is told in each slot what came in the one before."""
    guard = Guard(ROLLOUT, STATE)
    for slot in range(flights.slots):
        guard.add("", flights.rows(slot))
        if any(result.verdict is Verdict.FAILED for result in guard.step(slot + 1, STATE)):
            return (slot + 1) * SLOT
    return None


def tripped(flights: Flights, rng: Random) -> float | None:
    """When the breaker of a worker that serves all trips, and legacy does not fail as well as far as it can tell."""
    breaker, legacy = Breaker(), Tally("simulated", Arm.LEGACY, Mode.LEGACY, None)
    before = legacy.ends()
    for slot in range(flights.slots):
        for _ in range(flights.legacy[slot]):
            legacy.begin()
        events = [ended for ended in flights.ended.get(slot, ()) for _ in range(ended.requests)]
        rng.shuffle(events)
        for ended in events:
            if ended.arm is Arm.LEGACY:
                legacy.open -= 1
                legacy.outcome(ended.arrived, failed=ended.bad, slow=False)
            elif breaker.record(ended.bad) is not None:
                if not legacy_fails_too((before, _NO_FALLBACK), (legacy.ends(), _NO_FALLBACK), breaker.share):
                    return (slot + 1) * SLOT
                breaker.forgive()
            elif ended.bad and breaker.bad == 1:
                before = legacy.ends()
        legacy.tell({}, slot + 1)
    return None


OURS: dict[str, Rule] = {"Crossfade": two_arms}
