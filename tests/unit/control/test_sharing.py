"""What a replica shares: who decides, and what arrived, told to others only where there are any."""

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from proxy.control.sharing import MAX_SLOTS, STALE, Sharing
from proxy.model.errors import StoreUnavailableError
from proxy.model.rollouts import Arrived, Report
from proxy.telemetry.metrics import Metrics
from tests.fakes import FakeClock

KEY = ("refunds", "v1", 1)


class Others:
    """`Replicas`, as the test says: how many live, whether we lead, whether the store is there."""

    def __init__(self) -> None:
        self.alive, self.leads, self.away = 2, False, False
        self.told: list[Report] = []

    async def lead(self) -> int:
        if self.away:
            raise StoreUnavailableError("the store does not answer: it is away")
        return self.alive

    async def release(self) -> None:
        self.leads = False

    async def tell(self, reports: Sequence[Report]) -> None:
        self.told += reports

    async def hear(self, routes: Sequence[str]) -> list[Report]:
        return [Report(route, "v1", 1, "other", ()) for route in routes]


class Scene:
    def __init__(self) -> None:
        self.others, self.clock = Others(), FakeClock()
        self.sharing = Sharing(self.others, Metrics(), self.clock, "ours")


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_what_arrived_in_a_slot_is_added_up_until_it_is_told(scene: Scene) -> None:
    await scene.sharing.renew()
    scene.sharing.note(KEY, [Arrived(7, agent=2), Arrived(8, legacy=1)])
    scene.sharing.note(KEY, [Arrived(7, agent_ended=2, agent_failed=1)])
    assert [report.source for report in await scene.sharing.share(["refunds"])] == ["other"]
    rows = (Arrived(7, agent=2, agent_ended=2, agent_failed=1), Arrived(8, legacy=1))
    assert scene.others.told == [Report("refunds", "v1", 1, "ours", rows)]
    await scene.sharing.share(["refunds"])
    assert len(scene.others.told) == 1


async def test_who_is_alone_keeps_and_tells_nothing(scene: Scene) -> None:
    scene.others.alive = 1
    await scene.sharing.renew()
    scene.sharing.note(KEY, [Arrived(7, agent=2)])
    assert await scene.sharing.share(["refunds"]) == []
    scene.others.alive = 2
    await scene.sharing.renew()
    await scene.sharing.share(["refunds"])
    assert scene.others.told == []


async def test_what_waits_to_be_told_is_bounded(scene: Scene) -> None:
    await scene.sharing.renew()
    with capture_logs() as logs:
        for slot in range(MAX_SLOTS + 10):
            scene.sharing.note(KEY, [Arrived(slot, agent=1)])
    assert sum(line["slots"] for line in logs if line["event"] == "arrivals_not_told") == 10
    await scene.sharing.share([])
    assert [row.slot for row in scene.others.told[0].rows] == list(range(10, MAX_SLOTS + 10))


async def test_while_somebody_else_is_known_to_decide_the_guard_waits(scene: Scene) -> None:
    assert scene.sharing.may_roll_back, "nobody is known yet"
    await scene.sharing.renew()
    assert not scene.sharing.may_roll_back
    scene.others.leads = True
    assert scene.sharing.may_roll_back


async def test_without_an_answer_of_the_store_nobody_is_known_to_decide(scene: Scene) -> None:
    await scene.sharing.renew()
    scene.clock.advance(STALE - 0.1)
    assert scene.sharing.known
    scene.clock.advance(0.1)
    assert not scene.sharing.known, "it hangs"
    await scene.sharing.renew()
    assert scene.sharing.known
    scene.others.away = True
    await scene.sharing.renew()
    assert scene.sharing.may_roll_back, "it refuses"


async def test_what_changes_is_said_once(scene: Scene) -> None:
    with capture_logs() as logs:
        for away, leads in ((False, True), (False, True), (True, True), (True, False), (False, False)):
            scene.others.away, scene.others.leads = away, leads
            await scene.sharing.renew()
    assert [line["event"] for line in logs] == [
        "lease_taken",
        "replicas_out_of_reach",
        "lease_lost",
        "replicas_in_reach",
    ]
