"""Topic 7: what one tick of the guards of many routes costs. Measured in plain Python, as the product runs it."""

import json
import os
import subprocess
import sys
import time
from random import Random
from statistics import median

from benchmarks.errors import BenchError
from benchmarks.simulate.findings import Findings
from benchmarks.simulate.flights import Flights, Phase, failing, fly
from benchmarks.simulate.traffic import SLOT
from proxy.config.rollout_schema import Rollout
from proxy.control.arrivals import Arrivals
from proxy.control.guard import Guard
from proxy.gateway.compiled import SWITCH
from proxy.model import words
from proxy.model.measures import OUTCOMES, Result
from proxy.model.rollouts import RolloutState
from proxy.model.tick import Labels, Tick

ROUTES = 100
TICKS = 300
GOAL = 10.0
"""Milliseconds."""

WARM = 100
"""Ticks that are not measured."""

SETTINGS: tuple[tuple[str, dict[str, object], int], ...] = (
    ("errors, legacy answers in 0.4 s", {}, 2),
    ("errors and latency, legacy answers in 0.4 s", {"guard": {"latency": {"slower_than": "5s"}}}, 2),
    ("errors and latency, legacy answers in 10 s", {"guard": {"latency": {"slower_than": "15s"}}}, 50),
)
"""With the rollout's options, and the slots until legacy answers."""


def cost() -> Findings:
    """Measured by a process of its own: this one may have the rules compiled."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.simulate.cost"],
        env={**os.environ, SWITCH: "1"}, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise BenchError("what a tick costs could not be measured")
    found = Findings(
        f"What a tick over {ROUTES} routes costs",
        f"Median of {TICKS} ticks, ms of CPU. Each route has 50 requests/s for the agent and 450 for legacy, 1 % fail."
        " One worker reports. Plain Python, as the product runs it.",
        ("what", "booked", "judged", "together"),
    )
    for name, booked, judged in json.loads(done.stdout):
        together = booked + judged
        found.add(
            name, f"{booked:.1f}", f"{judged:.1f}", f"{together:.1f}",
            goal=f"at most {GOAL:.0f}", met=together <= GOAL,
        )  # fmt: skip
    return found


def measure(options: dict[str, object], slots: int) -> tuple[float, float]:
    """Milliseconds of booking what workers reported, and of judging it, for all routes together."""
    rollout = Rollout.model_validate({"agent": "agent", "version": "1", "salt": "s", **options})
    agent, legacy = failing(0.01, well=2, badly=1), failing(0.01, well=slots, badly=slots)
    phase = Phase((WARM + TICKS) * SLOT, 50, 450, agent, legacy)
    flights = [fly(Random(f"cost {number}"), [phase]) for number in range(ROUTES)]
    states = [
        RolloutState(f"route-{number}", "1", words.Phase.PROGRESSING, 1, "canary", 10_000, 0, 1, 1, 0.0)
        for number in range(ROUTES)
    ]
    guards = [Guard(rollout, state) for state in states]
    arrivals = Arrivals()
    arrivals.watch({guard.key for guard in guards})
    booked, judged = [], []
    for slot in range(WARM + TICKS):
        tick = _tick(slot, flights, states)
        began = time.process_time()
        arrivals.add(tick)
        between = time.process_time()
        for guard, state in zip(guards, states, strict=True):
            guard.add("", arrivals.take(guard.key))
            guard.step(slot + 1, state)
        booked.append(between - began)
        judged.append(time.process_time() - between)
    return median(booked[WARM:]) * 1000, median(judged[WARM:]) * 1000


def _tick(slot: int, flights: list[Flights], states: list[RolloutState]) -> Tick:
    """What one worker that serves everything reports."""
    outcomes: dict[Labels, int] = {}
    for flight, state in zip(flights, states, strict=True):
        base = (state.route, state.version, state.stage_name, str(state.epoch))
        outcomes[*base, words.Arm.AGENT, Result.ARRIVED, str(slot)] = flight.agent[slot]
        outcomes[*base, words.Arm.LEGACY, Result.ARRIVED, str(slot)] = flight.legacy[slot]
        for ended in flight.ended.get(slot, ()):
            labels = (*base, ended.arm.value, Result.FAILED if ended.bad else Result.OK, str(ended.arrived))
            outcomes[labels] = outcomes.get(labels, 0) + ended.requests
    return Tick("0" * 32, slot, slot * SLOT, counters={OUTCOMES.name: outcomes})


if __name__ == "__main__":
    print(json.dumps([(name, *measure(options, slots)) for name, options, slots in SETTINGS]))
