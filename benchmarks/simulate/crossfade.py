"""The product's own rules over drawn traffic: nothing of them is written here a second time."""

from random import Random

from benchmarks.simulate.flights import Ended, Flights
from benchmarks.simulate.peers import Rule
from benchmarks.simulate.traffic import SLOT, Series
from proxy.analysis.block import Block
from proxy.analysis.breaker import Breaker
from proxy.analysis.sequential import TwoArms
from proxy.config.rollout_schema import Rollout
from proxy.control.guard import Guard
from proxy.gateway.evidence import Tally
from proxy.gateway.shared import agents_fault
from proxy.model.rollouts import RolloutState
from proxy.model.words import Arm, Mode, Phase, Verdict

MARGIN = 0.002
"""The guard's default for errors."""

ROLLOUT = Rollout.model_validate({"agent": "agent", "version": "1", "salt": "simulated"})
STATE = RolloutState("simulated", "1", Phase.PROGRESSING, 1, "canary", 5_000, 0, 1, 1, 0.0)


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
    worker = _Worker()
    for slot in range(flights.slots):
        for _ in range(flights.legacy[slot]):
            worker.drawn.begin()
        for _ in range(flights.agent[slot]):
            worker.agent.begin()
        events = [(ended, worker.drawn) for ended in flights.ended.get(slot, ()) for _ in range(ended.requests)]
        events += [(ended, worker.taken) for ended in flights.taken.get(slot, ()) if ended.arrived < slot]
        at_once = [(ended, worker.taken) for ended in flights.taken.get(slot, ()) if ended.arrived == slot]
        rng.shuffle(events)
        for ended, tally in events:
            if ended.arm is Arm.LEGACY:
                worker.legacy_did(tally, ended)
                continue
            if worker.agent_did(ended):
                return (slot + 1) * SLOT
            if ended.bad and at_once:
                worker.legacy_did(worker.taken, at_once.pop()[0])
        worker.tell(slot + 1)
    return None


class _Worker:
    """What a worker keeps of one rollout for its breaker, asked as `gateway.shared` asks it."""

    def __init__(self) -> None:
        self.breaker = Breaker()
        evidence = ("simulated", "1", "canary", "1")
        self.agent = Tally("simulated", Arm.AGENT, Mode.CANARY, evidence)
        self.drawn = Tally("simulated", Arm.LEGACY, Mode.LEGACY, evidence)
        self.taken = Tally("simulated", Arm.LEGACY, Mode.FALLBACK, evidence)
        self._looked = -1

    def agent_did(self, ended: Ended) -> bool:
        """Whether traffic swaps. What failed is taken over."""
        self.agent.open -= 1
        self.agent.outcome(ended.arrived, failed=ended.bad, slow=False)
        reason, now = self.breaker.record(ended.bad, slot=ended.arrived), self.drawn.slot
        if reason is not None and self._looked != now:
            if agents_fault(self.breaker, self.agent, self.drawn, self.taken):
                return True
            self._looked = now
        if ended.bad:
            self.taken.begin()
        return False

    def legacy_did(self, tally: Tally, ended: Ended) -> None:
        tally.open -= 1
        tally.outcome(ended.arrived, failed=ended.bad, slow=False)
        if not ended.bad:
            tally.seconds += (tally.slot - ended.arrived + 0.5) * SLOT

    def tell(self, slot: int) -> None:
        for tally in (self.agent, self.drawn, self.taken):
            tally.tell({}, slot)


OURS: dict[str, Rule] = {"Crossfade": two_arms}
