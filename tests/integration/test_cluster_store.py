"""Pairs, evidence, users and states in a Cluster of three masters: routes lie in many slots, and go together."""

from collections.abc import AsyncIterator

import pytest

from proxy.model.errors import ConflictError, StoreFormatError
from proxy.model.rollouts import ArmCount, Batch, Evidence, Kept, RolloutState, Users
from proxy.model.words import Phase
from proxy.storage import keys
from proxy.storage.connection import Client, ask, connect
from proxy.storage.pairs import PairStore
from proxy.storage.reading import PairArchive
from proxy.storage.rollouts import StateStore
from tests.valkey import Cluster

STAGE = ("v1", 1, "canary")
ROUTES = tuple(f"route-{number}" for number in range(12))
SEEN = Evidence(ArmCount(2), ArmCount(1, 1), 1, 0, 0, segments={"a": (1, 0)}, decisions={("x", "y"): 1})


@pytest.fixture
async def redis(cluster: Cluster) -> AsyncIterator[Client]:
    client = connect(cluster.url)
    yield client
    await client.aclose()


def batch(seq: int, route: str) -> Batch:
    users = {(*STAGE, 5_000): (frozenset({1, 2}), frozenset({seq}))}
    return Batch(route, "w1", seq, {STAGE: SEEN}, users, (Kept("matched", b'{"seq":%d,"verdict":"matched"}' % seq),))


async def test_batches_of_all_slots_are_written_at_once_and_once(cluster: Cluster, redis: Client) -> None:
    assert len({cluster.owner(keys.pairs(route)).port for route in ROUTES}) == 3
    pairs, states, archive = PairStore(redis), StateStore(redis), PairArchive(redis)
    batches = [batch(seq, route) for seq in (1, 2) for route in ROUTES]
    assert await pairs.write(batches) == [True] * len(batches)
    assert await pairs.write([*batches, batch(3, ROUTES[0])]) == [False] * len(batches) + [True]
    for route in ROUTES[1:]:
        found = await states.evidence(route, *STAGE)
        assert (found.legacy.requests, found.segments, found.decisions) == (4, {"a": (2, 0)}, {("x", "y"): 2})
        assert await states.users(route, *STAGE, 5_000) == Users(2, 2)
        assert await states.stages(route) == [STAGE]
        page, _ = await archive.pairs(route, verdict="matched")
        assert [pair["seq"] for pair in page] == [2, 1]
        assert await archive.pair(page[0]["id"]) == page[0]


async def test_what_is_not_ours_costs_its_own_route_alone(redis: Client) -> None:
    await ask(redis, "SET", keys.pairs(ROUTES[3]), "banana")
    with pytest.raises(StoreFormatError) as caught:
        await PairStore(redis).write([batch(1, route) for route in ROUTES])
    assert caught.value.key == keys.pairs(ROUTES[3])
    assert await StateStore(redis).users(ROUTES[4], *STAGE, 5_000) == Users(2, 1)


async def test_states_and_guards_of_all_routes(redis: Client) -> None:
    states = StateStore(redis)
    saved = [
        RolloutState(route, "v1", Phase.PROGRESSING, 0, "shadow", 0, 100_000, epoch=1, revision=1, since=1e9)
        for route in ROUTES
    ]
    for state in saved:
        await states.save(state, None)
        await states.save_guard(state.route, state.route.encode())
    await ask(redis, "SET", keys.state("garbage"), "banana")
    *loaded, garbage, nothing = await states.load_all([*ROUTES, "garbage", "nothing"])
    assert (loaded, nothing) == (saved, None)
    assert isinstance(garbage, StoreFormatError)
    assert [await states.load_guard(route) for route in ROUTES] == [route.encode() for route in ROUTES]
    with pytest.raises(ConflictError):
        await states.save(RolloutState(ROUTES[0], "v2", Phase.PAUSED, 0, "shadow", 0, 0, 1, 1, 1e9), None)


async def test_an_older_layout_is_brought_up_here_too(redis: Client) -> None:
    for route in ROUTES[:4]:
        await ask(redis, "SET", keys.layout(route), 1)
        await ask(redis, "HSET", keys.totals(route, "v0", 1, "shadow"), "matched", 7)
    assert await PairStore(redis).write([batch(1, route) for route in ROUTES]) == [True] * len(ROUTES)
    states = StateStore(redis)
    for route in ROUTES[:4]:
        assert set(await states.stages(route)) == {STAGE, ("v0", 1, "shadow")}
        assert await states.evidence(route, "v0", 1, "shadow") == Evidence(matched=7)
