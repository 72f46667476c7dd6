"""One decides, all tell: the lease, who lives, and what replicas tell each other of what arrived."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.model.errors import StoreUnavailableError
from proxy.model.rollouts import Arrived, Report
from proxy.storage import keys
from proxy.storage.connection import Client, ask, connect
from proxy.storage.replicas import LEASE, LIVING, MAX_REPORTS, MAX_ROWS, MAX_WAITING, ReplicaStore
from tests.fakes import FakeClock
from tests.valkey import Cluster, Valkey


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Client]:
    client = connect(valkey.url, timeout=1.0)
    yield client
    await client.aclose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ana(redis: Client, clock: FakeClock) -> ReplicaStore:
    return ReplicaStore(redis, clock, "ana")


@pytest.fixture
def bo(redis: Client, clock: FakeClock) -> ReplicaStore:
    return ReplicaStore(redis, clock, "bo")


def report(source: str, *slots: int, route: str = "refunds", agent: int = 1) -> Report:
    return Report(route, "v1", 1, source, tuple(Arrived(slot, agent=agent) for slot in slots))


async def lease_ends(redis: Client) -> None:
    """As when its holder has not renewed it in time."""
    await ask(redis, "DEL", keys.replicas("lease"))


# The lease


async def test_the_first_one_decides_and_the_second_one_knows_of_it(ana: ReplicaStore, bo: ReplicaStore) -> None:
    assert not ana.leads
    assert (await ana.lead(), ana.leads) == (1, True)
    assert (await bo.lead(), bo.leads) == (2, False)
    assert (await ana.lead(), ana.leads) == (2, True)


async def test_the_lease_ends_by_our_own_clock_before_the_store_gives_it_away(
    ana: ReplicaStore, redis: Client, clock: FakeClock
) -> None:
    await ana.lead()
    left = await ask(redis, "PTTL", keys.replicas("lease"))
    assert 0 < left <= LEASE * 1000
    clock.advance(LEASE - 0.01)
    assert ana.leads
    clock.advance(0.01)
    assert not ana.leads


async def test_the_time_that_the_request_took_is_not_ours(ana: ReplicaStore, valkey: Valkey, clock: FakeClock) -> None:
    valkey.freeze()
    leading = asyncio.get_running_loop().create_task(ana.lead())
    await asyncio.sleep(0)
    clock.advance(LEASE)
    valkey.thaw()
    await leading
    assert not ana.leads


async def test_a_holder_that_is_gone_is_followed_and_comes_back_without_the_lease(
    ana: ReplicaStore, bo: ReplicaStore, redis: Client
) -> None:
    await ana.lead()
    await lease_ends(redis)
    await bo.lead()
    assert bo.leads
    assert ana.leads, "it cannot know yet"
    await ana.lead()
    assert not ana.leads


async def test_who_releases_it_is_followed_at_once(ana: ReplicaStore, bo: ReplicaStore) -> None:
    await ana.lead()
    await ana.release()
    assert not ana.leads
    assert (await bo.lead(), bo.leads) == (1, True)


async def test_nobody_releases_what_is_another_ones(ana: ReplicaStore, bo: ReplicaStore) -> None:
    await ana.lead()
    await bo.release()
    await bo.lead()
    assert not bo.leads


async def test_who_was_not_heard_of_no_longer_counts(ana: ReplicaStore, bo: ReplicaStore, redis: Client) -> None:
    await bo.lead()
    seconds, _ = await ask(redis, "TIME")
    for aside in (-LIVING - 1, 3_600):  # long ago, and before the server's clock stepped back
        await ask(redis, "ZADD", keys.replicas("living"), int((seconds + aside) * 1000), "bo")
        assert await ana.lead() == 1
    assert await bo.lead() == 2


async def test_without_the_store_the_lease_is_kept_until_it_ends(
    ana: ReplicaStore, valkey: Valkey, clock: FakeClock
) -> None:
    await ana.lead()
    valkey.stop()
    with pytest.raises(StoreUnavailableError):
        await ana.lead()
    assert ana.leads
    clock.advance(LEASE)
    assert not ana.leads


# What arrived


async def test_others_hear_what_was_told_once_and_one_does_not_hear_oneself(
    ana: ReplicaStore, bo: ReplicaStore
) -> None:
    for each in (ana, bo):
        assert await each.hear(["refunds"]) == []
    await ana.tell([report("ana", 1, 2)])
    await bo.tell([report("bo", 7)])
    assert await bo.hear(["refunds"]) == [report("ana", 1, 2)]
    assert await ana.hear(["refunds"]) == [report("bo", 7)]
    assert await bo.hear(["refunds"]) == []


async def test_who_comes_later_hears_nothing_of_before(ana: ReplicaStore, bo: ReplicaStore) -> None:
    await ana.tell([report("ana", 1)])
    assert await bo.hear(["refunds"]) == []
    await ana.tell([report("ana", 2)])
    assert await bo.hear(["refunds"]) == [report("ana", 2)]


async def test_all_of_a_row_is_told(ana: ReplicaStore, bo: ReplicaStore) -> None:
    rows = (Arrived(1, 2, 3, 4, 5, 6, 7, 8, 9), Arrived(2, agent=-1), Arrived(3))
    await bo.hear(["refunds"])
    await ana.tell([Report("refunds", "v 1:ü", 3, "ana", rows)])
    assert await bo.hear(["refunds"]) == [Report("refunds", "v 1:ü", 3, "ana", rows)]


async def test_what_could_not_be_told_is_told_later_and_what_came_twice_is_heard_once(
    ana: ReplicaStore, bo: ReplicaStore, redis: Client, valkey: Valkey
) -> None:
    await bo.hear(["refunds"])
    await ana.tell([report("ana", 1)])
    (entry,) = await ask(redis, "XRANGE", keys.arrivals("refunds"), "-", "+")
    await ask(redis, "XADD", keys.arrivals("refunds"), "*", "report", entry[1][b"report"])  # as after a lost reply
    valkey.stop()
    with pytest.raises(StoreUnavailableError):
        await ana.tell([report("ana", 2)])
    await asyncio.to_thread(valkey.start)
    await ana.tell([report("ana", 3)])
    assert await bo.hear(["refunds"]) == [report("ana", 1), report("ana", 2), report("ana", 3)]


async def test_what_waits_for_the_store_is_bounded(ana: ReplicaStore, bo: ReplicaStore, valkey: Valkey) -> None:
    await bo.hear(["refunds"])
    valkey.stop()
    with capture_logs() as logs:
        for slot in range(MAX_WAITING + 2):
            with pytest.raises(StoreUnavailableError):
                await ana.tell([report("ana", slot)])
    assert [line["event"] for line in logs] == ["report_dropped"] * 2
    await asyncio.to_thread(valkey.start)
    await ana.tell([])
    assert [heard.rows[0].slot for heard in await bo.hear(["refunds"])] == list(range(2, MAX_WAITING + 2))


async def test_what_the_store_keeps_is_bounded(ana: ReplicaStore, bo: ReplicaStore, redis: Client) -> None:
    await bo.hear(["refunds"])
    await ana.tell([report("ana", *range(MAX_ROWS + 10))])
    (heard,) = await bo.hear(["refunds"])
    assert [row.slot for row in heard.rows] == list(range(10, MAX_ROWS + 10))
    for _ in range(12):
        await ana.tell([report("ana", slot) for slot in range(MAX_WAITING)])
    assert await ask(redis, "XLEN", keys.arrivals("refunds")) <= MAX_REPORTS + 100
    assert 0 < await ask(redis, "TTL", keys.arrivals("refunds")) <= 60
    assert len(await bo.hear(["refunds"])) <= MAX_REPORTS


async def test_a_store_that_lost_everything_and_whose_clock_is_behind_is_heard_on(
    ana: ReplicaStore, bo: ReplicaStore, redis: Client
) -> None:
    stream = keys.arrivals("refunds")
    await ask(redis, "XADD", stream, "9999999999999-5", "report", b"")
    await bo.hear(["refunds"])
    await ask(redis, "DEL", stream)
    await ana.tell([report("ana", 1)])
    assert await bo.hear(["refunds"]) == []  # from here on
    await ana.tell([report("ana", 2)])
    assert await bo.hear(["refunds"]) == [report("ana", 2)]


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x01", b"\x96\x02\x01\xa2v1\x01\xa3ana\x90", b"\x96\x01\xa1x\xa2v1\x01\xa3ana\x90"]
)
async def test_what_is_no_report_is_left_out_and_told_once(
    ana: ReplicaStore, bo: ReplicaStore, redis: Client, data: bytes
) -> None:
    await bo.hear(["refunds"])
    with capture_logs() as logs:
        for slot in (1, 2):
            await ask(redis, "XADD", keys.arrivals("refunds"), "*", "report", data)
            await ana.tell([report("ana", slot)])
            assert await bo.hear(["refunds"]) == [report("ana", slot)]
    assert [line["event"] for line in logs] == ["store_format"]


async def test_a_key_that_is_not_ours_is_the_trouble_of_its_route_alone(
    ana: ReplicaStore, bo: ReplicaStore, redis: Client
) -> None:
    await ask(redis, "SET", keys.arrivals("claims"), "someone else's")
    await bo.hear(["claims", "refunds"])
    with capture_logs() as logs:
        await ana.tell([report("ana", 1, route="claims"), report("ana", 2)])
    assert await bo.hear(["claims", "refunds"]) == [report("ana", 2)]
    assert [line["event"] for line in logs] == ["store_format"]
    assert await ask(redis, "GET", keys.arrivals("claims")) == b"someone else's"


# On a Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster") as servers:
        servers.start()
        yield servers


async def test_it_works_on_a_cluster_with_routes_in_several_slots(cluster: Cluster, clock: FakeClock) -> None:
    client = connect(cluster.url)
    ana, bo = ReplicaStore(client, clock, "ana"), ReplicaStore(client, clock, "bo")
    routes = [f"route-{number}" for number in range(12)]
    assert len({cluster.owner(keys.arrivals(route)) for route in routes}) == 3
    assert [await ana.lead(), await bo.lead()] == [1, 2]
    await bo.hear(routes)
    await ana.tell([report("ana", 1, route=route) for route in routes])
    assert [heard.route for heard in await bo.hear(routes)] == routes
    await ana.release()
    await bo.lead()
    assert bo.leads
    await client.aclose()
