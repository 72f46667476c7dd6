"""When the agent fails: whether that is its fault."""

import pytest

from proxy.analysis.breaker import Breaker
from proxy.gateway.evidence import Tally
from proxy.gateway.shared import PATIENCE, Shared, agents_fault
from proxy.gateway.table import RolloutEntry
from proxy.model.snapshot import KeySource, MatchSpec, RolloutSpec, RouteSpec, Snapshot, UpstreamSpec
from proxy.model.words import Arm, Mode, Phase

SLOT = 1_000


class Arms:
    """What a worker knows of one rollout. The agent has failed eight times, `ago` slots ago and since."""

    def __init__(self, ago: int = 0) -> None:
        self.breaker = Breaker()
        self.agent, self.drawn, self.taken = (
            Tally("r", arm, mode, ("r", "v", "canary", "1"), SLOT - ago)
            for arm, mode in ((Arm.AGENT, Mode.CANARY), (Arm.LEGACY, Mode.LEGACY), (Arm.LEGACY, Mode.FALLBACK))
        )
        for _ in range(8):
            slot = self.agent.begin()
            self.agent.outcome(slot, failed=True, slow=False)
            self.breaker.record(True, slot=slot)

    def legacy(self, tally: Tally, good: int = 0, bad: int = 0, hanging: int = 0) -> None:
        for count, failed in ((good, False), (bad, True)):
            for _ in range(count):
                slot = tally.begin()
                tally.open -= 1
                tally.outcome(slot, failed=failed, slow=False)
        for _ in range(hanging):
            tally.begin()

    def at_fault(self, after: int = 2) -> bool:
        for slot in range(1, after + 1):
            for tally in (self.agent, self.drawn, self.taken):
                tally.tell({}, SLOT + slot)
        return agents_fault(self.breaker, self.agent, self.drawn, self.taken)


@pytest.mark.parametrize(
    ("drawn", "taken", "fault"),
    [
        pytest.param({"good": 100}, {}, True, id="legacy is well"),
        pytest.param({"bad": 100}, {}, False, id="legacy fails alike"),
        pytest.param({"good": 50, "bad": 50}, {}, False, id="legacy fails by half"),
        pytest.param({"good": 99, "bad": 1}, {}, True, id="legacy has its usual failures"),
        pytest.param({}, {"good": 8}, True, id="legacy is well with what it takes over"),
        pytest.param({}, {"bad": 8}, False, id="what legacy takes over fails too"),
        pytest.param({}, {}, True, id="legacy has nothing to do"),
        pytest.param({"hanging": 20}, {}, False, id="legacy hangs"),
        pytest.param({"good": 20, "hanging": 20}, {}, False, id="legacy hangs since a moment ago"),
    ],
)
def test_legacy_is_looked_at_by_what_arrived_meanwhile(
    drawn: dict[str, int], taken: dict[str, int], fault: bool
) -> None:
    arms = Arms()
    arms.legacy(arms.drawn, **drawn)
    arms.legacy(arms.taken, **taken)
    assert arms.at_fault() is fault


def test_what_is_not_settled_yet_proves_nothing() -> None:
    """Legacy was well a moment ago; what it does now will be known in a moment."""
    arms = Arms()
    arms.legacy(arms.drawn, good=100, hanging=100)
    assert not arms.at_fault(after=1)


def test_an_agent_that_lets_nobody_connect_is_at_fault_at_once() -> None:
    arms = Arms()
    for _ in range(10):
        arms.breaker.record(True, connect_failure=True, slot=SLOT)
    arms.legacy(arms.drawn, good=3)
    assert arms.at_fault(after=0)


def test_nor_is_it_where_legacy_fails_too() -> None:
    arms = Arms()
    for _ in range(10):
        arms.breaker.record(True, connect_failure=True, slot=SLOT)
    arms.legacy(arms.drawn, good=3, bad=3)
    assert not arms.at_fault(after=0)


def test_a_legacy_that_takes_its_time_is_waited_for_so_long_and_no_longer() -> None:
    arms = Arms()
    arms.drawn.usual = 20.0
    arms.legacy(arms.drawn, hanging=20)
    assert not arms.at_fault(after=PATIENCE - 1)
    assert arms.at_fault(after=PATIENCE)


def test_a_legacy_that_hangs_although_it_is_quick_as_a_rule_fails_too() -> None:
    arms = Arms()
    arms.drawn.usual = 0.01
    arms.legacy(arms.drawn, hanging=20)
    assert not arms.at_fault(after=PATIENCE + 3)


def test_failures_that_come_late_are_compared_with_what_legacy_did_then() -> None:
    """The agent gave up after its timeout; legacy failed at once, and is well again."""
    arms = Arms(ago=50)
    arms.legacy(arms.drawn, bad=20)
    for slot in range(SLOT - 49, SLOT + 1):
        for tally in (arms.agent, arms.drawn, arms.taken):
            tally.tell({}, slot)
        if slot > SLOT - 5:
            arms.legacy(arms.drawn, good=1)
    assert not arms.at_fault(after=0)


def snapshot(number: int) -> Snapshot:
    spec = RolloutSpec("b", "v", "canary", Phase.PROGRESSING, 1, 5_000, (KeySource("client_ip"),), "s")
    upstreams = (UpstreamSpec("a", "127.0.0.1", 1), UpstreamSpec("b", "127.0.0.1", 2))
    return Snapshot(number, (RouteSpec("r", MatchSpec(), "a", spec),), upstreams)


async def test_an_outage_of_both_arms_over_a_new_snapshot_is_not_the_agents() -> None:
    """Timeouts end what began a minute ago, by a table that has been replaced since; and then what began by this one.
    Legacy's thousands of good answers before the outage are not to be set against its failures in it."""
    trips: list[str] = []
    shared = Shared(snapshot(1), lambda _route, _rollout, reason: trips.append(reason))

    def present() -> RolloutEntry:
        ((_, entry),) = shared.table.rollouts()
        return entry

    def fail(entry: RolloutEntry) -> None:
        legacy, agent = entry.legacy.tally, entry.canary.tally
        for _ in range(20):
            slot = legacy.begin()
            legacy.open -= 1
            legacy.outcome(slot, failed=True, slow=False)
        slot = agent.begin()
        agent.open -= 1
        agent.outcome(slot, failed=True, slow=False)
        shared.agent_did("r", entry, slot, failed=True, connect=False, unasked=False)

    old = present()
    old.legacy.tally.ok = 5_000
    for way in (old.legacy, old.canary, old.fallback):
        way.tally.tell({}, way.tally.slot + 1)
    shared.use(snapshot(2))
    assert present() is not old
    for _ in range(4):
        fail(old)
    for _ in range(30):
        fail(present())
    assert trips == []
