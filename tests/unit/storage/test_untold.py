"""What the human queue has not heard of yet: nothing is taken twice, and nothing is passed over."""

from collections.abc import AsyncIterator

import pytest

from proxy.model.errors import StoreFormatError
from proxy.storage import keys
from proxy.storage.connection import Client, ask, connect
from proxy.storage.pairs import PairStore
from proxy.storage.untold import UntoldStore
from tests.integration.escalation_world import Escalating
from tests.valkey import Valkey

DAY = 86_400.0


class Desk:
    def __init__(self, redis: Client) -> None:
        self.redis, self.store = redis, UntoldStore(redis)
        self.escalating = Escalating(PairStore(redis))

    async def due(self, now: float = 1e10, limit: int = 100) -> list[str]:
        return [entry.id for entry in (await self.store.take("refunds", now, limit, back=DAY)).due]


@pytest.fixture
async def desk(valkey: Valkey) -> AsyncIterator[Desk]:
    redis = connect(valkey.url)
    yield Desk(redis)
    await redis.aclose()


async def test_what_was_taken_is_due_until_it_is_settled(desk: Desk) -> None:
    await desk.escalating.write(1, 2)
    untold = await desk.store.take("refunds", 1e10, 100, back=DAY)
    assert [(entry.id, entry.reason) for entry in untold.due] == [("e1", "timeout"), ("e2", "timeout")]
    assert untold.waiting == 2
    assert await desk.due() == ["e1", "e2"]
    await desk.store.settle("refunds", untold.due[:1])
    await desk.escalating.write(3)
    assert await desk.due() == ["e2", "e3"]


async def test_what_is_put_off_is_due_later_and_the_others_before_it(desk: Desk) -> None:
    await desk.escalating.write(1, 2)
    first = (await desk.store.take("refunds", 1_000.0, 1, back=DAY)).due[0]
    await desk.store.put_off("refunds", first, 1_060.0)
    assert await desk.due(1_059.0) == ["e2"]
    assert await desk.due(1_060.0) == ["e2", "e1"]


async def test_what_was_settled_is_not_put_off(desk: Desk) -> None:
    await desk.escalating.write(1)
    (entry,) = (await desk.store.take("refunds", 1.0, 1, back=DAY)).due
    await desk.store.settle("refunds", [entry])
    await desk.store.put_off("refunds", entry, 2.0)
    assert await desk.due() == []


async def test_what_waits_beyond_the_bound_waits_in_the_stream(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.storage.untold.MAX_UNTOLD", 3)
    await desk.escalating.write(*range(5))
    untold = await desk.store.take("refunds", 1e10, 100, back=DAY)
    assert ([entry.id for entry in untold.due], untold.waiting) == (["e0", "e1", "e2"], 5)
    await desk.store.settle("refunds", untold.due)
    assert await desk.due() == ["e3", "e4"]


async def test_it_outlives_the_stream_s_trimming(desk: Desk) -> None:
    await desk.escalating.write(1)
    assert await desk.due() == ["e1"]
    await ask(desk.redis, "XTRIM", keys.escalations("refunds"), "MAXLEN", 0)
    assert await desk.due() == ["e1"]


async def test_at_the_first_time_what_is_old_is_left_out(desk: Desk) -> None:
    await ask(desk.redis, "XADD", keys.escalations("refunds"), "1000-0", "id", "old", "pair", "1-0", "reason", "reset")
    await desk.escalating.write(1)
    assert await desk.due() == ["e1"]


async def test_routes_are_apart(desk: Desk) -> None:
    await desk.escalating.write(1)
    await desk.escalating.write(2, route="claims")
    assert await desk.due() == ["e1"]
    assert [entry.id for entry in (await desk.store.take("claims", 1e10, 9, back=DAY)).due] == ["e2"]


@pytest.mark.parametrize("key", [keys.escalations, keys.told, keys.untold])
async def test_what_is_not_ours_is_refused_and_left(desk: Desk, key: object) -> None:
    assert callable(key)
    name = key("refunds")
    await ask(desk.redis, "RPUSH", name, "theirs")
    with pytest.raises(StoreFormatError):
        await desk.due()
    assert await ask(desk.redis, "TYPE", name) == b"list"
