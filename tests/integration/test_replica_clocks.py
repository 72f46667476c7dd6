"""Three replicas' control planes on one Valkey, on machines whose clocks disagree and are put while they run.

They stand in one loop and the test turns the crank, so that each machine can have a clock of its own. Durations come
from monotonic clocks, who leads from the store's: nobody's clock on the wall moves a rollout.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from proxy.control.controller import Controller
from proxy.control.sharing import Sharing
from proxy.model.measures import SLOT
from proxy.model.rollouts import RolloutState
from proxy.model.words import Phase, Verb
from proxy.storage.replicas import ReplicaStore
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import stop
from tests.fakes import FakeClock
from tests.unit.control.world import Store, loaded, open_store, outcomes
from tests.valkey import Valkey

HOUR: Final = 3_600.0
TODAY: Final = 1_800_000_000.0


class Machine:
    """One that was started `up` seconds ago."""

    def __init__(self, store: Store, folder: Path, name: str, up: float) -> None:
        folder.mkdir()
        self.name, self.clock, self._slots = name, FakeClock(up, TODAY - up), 0
        metrics = Metrics()
        sharing = Sharing(ReplicaStore(store.redis, self.clock, name), metrics, self.clock, name)
        self.controller = Controller(loaded(), store, sharing, metrics, self.clock, lambda _: None, folder)

    @property
    def state(self) -> RolloutState:
        state = self.controller.courses["refunds"].state
        assert state is not None
        return state

    async def start(self) -> None:
        await self.controller.start(patient=False)
        await stop(*self.controller._tasks)

    async def turn(self) -> None:
        await self.controller.renew()
        await self.controller.share()
        await self.controller.follow()
        await self.controller.look()

    def serve(self, *, legacy: int = 0, agent: int = 0, failed: int = 0) -> None:
        """One slot's requests, of the agent's so many failed; and the guard looks at them."""
        self._slots += 1
        worker, slot = f"{self.name}'s worker", int(self.clock.monotonic() / SLOT)
        self.controller.observe(
            outcomes(
                self._slots, source=worker, slot=slot, legacy_ok=legacy, agent_ok=agent - failed, agent_failed=failed
            )
        )
        self.clock.advance(SLOT)
        self.controller.watch()


class Machines:
    def __init__(self, store: Store, folder: Path) -> None:
        self.all = [Machine(store, folder / name, name, up) for name, up in MACHINES.items()]

    async def live(self, seconds: int) -> None:
        for _ in range(seconds):
            for each in self.all:
                each.clock.advance(1)
                await each.turn()

    @property
    def places(self) -> set[tuple[Phase, str]]:
        return {(each.state.phase, each.state.stage_name) for each in self.all}


MACHINES: Final = {"old": 9_000_000.0, "young": 100.0, "one more": 40_000.0}


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    async with open_store(valkey) as opened:
        yield opened


@pytest.fixture
async def machines(store: Store, tmp_path: Path) -> Machines:
    """The first of them leads."""
    there = Machines(store, tmp_path)
    for each in there.all:
        await each.start()
    assert [each.controller.leads for each in there.all] == [True, False, False]
    return there


async def test_a_stage_holds_its_seconds_and_moves_once_whatever_the_clocks_on_the_wall_say(
    machines: Machines, store: Store
) -> None:
    leader, second, third = machines.all
    await store.fill("shadow")
    await machines.live(6)
    leader.clock.put(HOUR)
    second.clock.put(-HOUR)
    await machines.live(3)
    assert machines.places == {(Phase.PROGRESSING, "shadow")}
    await machines.live(3)
    assert machines.places == {(Phase.PROGRESSING, "canary")}  # which began, says the leader, in an hour

    await store.fill("canary")
    machines.all.remove(leader)
    await leader.controller.close()
    third.clock.put(2 * HOUR)
    await machines.live(9)
    assert machines.places == {(Phase.PROGRESSING, "canary")}
    third.clock.put(-2 * HOUR)
    await machines.live(5)
    assert machines.places == {(Phase.COMPLETED, "full")}
    assert await store.kinds() == ["begin", "advance", "complete"]


async def test_the_guard_adds_up_what_arrived_on_all_machines_whatever_their_clocks_say(machines: Machines) -> None:
    leader, second, third = machines.all
    await leader.controller.courses["refunds"].command(Verb.PROMOTE, actor="ana", reason="", full=False)
    await machines.live(2)
    await serve(machines, failed=0)
    assert machines.places == {(Phase.PROGRESSING, "canary")}
    leader.clock.put(-HOUR)
    third.clock.put(HOUR)
    await serve(machines, failed=3)
    assert machines.places == {(Phase.DEGRADED, "canary")}
    assert "error_rate" in second.state.reason


async def serve(machines: Machines, *, failed: int) -> None:
    """Six seconds. Nobody has seen both arms."""
    leader, second, third = machines.all
    for slot in range(30):
        leader.serve()
        second.serve(legacy=20)
        third.serve(agent=5, failed=failed)
        if slot % 3 == 2:
            for each in machines.all:
                await each.turn()
