"""Where a rollout stands, and what is made of what the store says."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from proxy.control.standing import PATIENCE, Standing, only_measured_anew
from proxy.model.rollouts import RolloutState
from proxy.model.words import Phase
from proxy.rollout.advance import BY_CONFIG, Step
from proxy.telemetry.tasks import spawn
from tests.fakes import FakeClock
from tests.unit.control.world import Store, open_store
from tests.valkey import Valkey

FIRST = RolloutState("refunds", "v1", Phase.PROGRESSING, 0, "shadow", 0, 100_000, epoch=1, revision=1, since=0.0)
SECOND = replace(FIRST, stage=1, stage_name="canary", weight=5_000, revision=2)
THIRD = replace(SECOND, stage=2, stage_name="full", weight=100_000, revision=3)
ROLLED_BACK = replace(SECOND, phase=Phase.DEGRADED, weight=0, revision=3)


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    async with open_store(valkey) as opened:
        yield opened


class Scene:
    def __init__(self, store: Store, *states: RolloutState) -> None:
        """The store has held these, and we stand at the last of them."""
        self.clock = FakeClock()
        self.changes: list[RolloutState | None] = []
        self.standing = Standing("refunds", store, self.clock, self.changes.append)
        for state in states:
            self.standing.learn(state)
            self.standing.take(state)

    def meets(self, stored: RolloutState | None, *, leads: bool = False) -> bool:
        return self.standing.meet(stored, self.standing.known.revision, leads=leads)


async def test_what_it_finds_first_is_where_it_stands(store: Store) -> None:
    scene = Scene(store)
    assert not scene.standing.meet(FIRST, 0, leads=False)
    assert (scene.standing.known, scene.changes) == (FIRST, [None])


async def test_what_others_moved_is_obeyed(store: Store) -> None:
    scene = Scene(store, FIRST)
    assert not scene.meets(SECOND)
    assert scene.standing.known == SECOND


async def test_an_answer_from_before_we_moved_says_nothing(store: Store) -> None:
    scene = Scene(store, FIRST, SECOND)
    assert not scene.standing.meet(FIRST, 1, leads=True)
    assert scene.standing.known == SECOND


async def test_what_the_store_lost_is_put_back_by_who_leads(store: Store) -> None:
    scene = Scene(store, FIRST, SECOND)
    assert scene.meets(FIRST, leads=True)
    assert scene.standing.known == SECOND


async def test_who_does_not_lead_waits_for_that_and_then_believes_the_store(store: Store) -> None:
    scene = Scene(store, FIRST, SECOND)
    assert not scene.meets(FIRST)
    assert scene.standing.known == SECOND
    scene.clock.advance(PATIENCE)
    assert not scene.meets(FIRST)
    assert scene.standing.known == FIRST


async def test_an_empty_store_gets_its_state_from_anybody_once_that_was_waited_for(store: Store) -> None:
    scene = Scene(store, FIRST)
    assert not scene.meets(None)
    scene.clock.advance(PATIENCE)
    assert scene.meets(None)
    await scene.standing.put_back(None)
    assert await store.load("refunds") == replace(FIRST, revision=1)


async def test_where_others_went_on_from_what_was_lost_they_are_obeyed_even_by_who_leads(store: Store) -> None:
    """The store failed over and lost our second revision; another replica has made another one of the first since."""
    scene = Scene(store, FIRST, SECOND)
    other = replace(FIRST, phase=Phase.PAUSED, revision=2)
    assert not scene.meets(other, leads=True)
    assert scene.standing.known == other


@pytest.mark.parametrize("leads", [True, False])
async def test_a_rollback_that_the_store_lost_is_saved_again_by_whoever_knows_of_it(store: Store, leads: bool) -> None:
    scene = Scene(store, FIRST, SECOND, ROLLED_BACK)
    await store.save(FIRST, None)
    await store.save(SECOND, None)
    await store.save(THIRD, None)  # somebody promoted what should not have been there any more
    assert not scene.meets(THIRD, leads=leads)
    assert scene.standing.unsaved
    await scene.standing.save_late()
    assert await store.load("refunds") == replace(ROLLED_BACK, revision=4)


async def test_a_later_epoch_undoes_a_rollback(store: Store) -> None:
    scene = Scene(store, FIRST, SECOND, ROLLED_BACK)
    again = replace(FIRST, epoch=2, revision=4)
    assert not scene.meets(again)
    assert (scene.standing.known, scene.standing.unsaved) == (again, False)


async def test_a_rollback_here_wins_over_what_is_being_saved(store: Store) -> None:
    await store.save(FIRST, None)
    scene = Scene(store, FIRST)
    released = store.hold("save")
    saving = spawn(scene.standing.save_first(Step(SECOND)), "saving")
    await asyncio.wait_for(store.waiting.wait(), 5)
    scene.standing.take_at_once(Step(replace(FIRST, phase=Phase.DEGRADED, revision=2)))
    released.set()
    assert not await saving
    assert scene.standing.known.phase is Phase.DEGRADED


@pytest.mark.parametrize(
    ("after", "so"),
    [
        (replace(SECOND, epoch=2, actor=BY_CONFIG), True),
        (replace(SECOND, epoch=2, actor="ana"), False),  # she said retry
        (replace(SECOND, epoch=3, actor=BY_CONFIG), False),
        (replace(SECOND, version="v2", epoch=2, actor=BY_CONFIG), False),
    ],
)
def test_a_changed_configuration_lifts_no_blame(after: RolloutState, so: bool) -> None:
    assert only_measured_anew("v1", 1, after) is so
