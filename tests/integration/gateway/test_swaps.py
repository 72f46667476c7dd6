"""A new snapshot while requests, dials and copies are under way: they end as they would have ended without it."""

import asyncio
from dataclasses import replace
from itertools import count

from proxy.model.snapshot import BUCKETS, Retry, Snapshot
from tests.integration.gateway.conftest import SHADOW_ALL, World, until
from tests.integration.gateway.peers import Message, answer, read_message, request


async def hang(_: Message) -> bytes:
    await asyncio.sleep(60)
    return b""


def without_rollout(world: World) -> Snapshot:
    """The same without the agent: as when the operator takes the rollout out of the file."""
    snapshot = world.snapshot()
    refunds, *others = snapshot.routes
    return replace(snapshot, routes=(replace(refunds, rollout=None), *others), upstreams=snapshot.upstreams[:1])


async def test_a_request_to_a_retired_upstream_still_times_out(world: World) -> None:
    world.timeouts = replace(world.timeouts, response=0.3)
    world.use()
    world.human.answers = hang
    async with world.client() as client:
        client.send(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
        await world.human.wait_for(1)
        old = world.worker.shared.table.upstreams["human"]
        world.timeouts = replace(world.timeouts, response=4.0)
        world.use()
        assert world.worker.shared.table.upstreams["human"] is not old
        assert (await client.read()).status == 504
    world.use()
    assert world.worker.shared.table.retired == []


async def test_a_request_that_asks_a_retired_upstream_only_then_times_out_too(world: World) -> None:
    """Nothing was under way at legacy when it was replaced; then the agent fails, and legacy takes over."""
    world.timeouts = replace(world.timeouts, response=0.3)
    world.use(weight=BUCKETS)
    go = asyncio.Event()

    async def fails(_: Message) -> bytes:
        await go.wait()
        return answer(b"", 500)

    world.agent.answers, world.human.answers = fails, hang
    async with world.client() as client:
        client.send(request(X_User_Id="u"))
        await world.agent.wait_for(1)
        world.timeouts = replace(world.timeouts, response=4.0)
        world.use()
        world.worker.report()
        go.set()
        await world.human.wait_for(1)
        world.use()
        assert (await client.read()).status == 504
    world.worker.report()
    assert world.worker.shared.table.retired == []


async def test_a_retry_after_the_swap_times_out_too(world: World) -> None:
    world.timeouts = replace(world.timeouts, response=0.3)
    world.human_extra = {"retry": Retry(attempts=1, on=frozenset({"503"}), backoff=0.2)}
    world.use()
    world.human.answers = lambda seen: hang(seen) if len(world.human.seen) > 1 else answer(b"", 503)
    async with world.client() as client:
        client.send(request("GET", "/plain", b""))
        await until(lambda: world.counts("retries_total") == {("human", "503"): 1})
        world.timeouts = replace(world.timeouts, response=4.0)
        world.use()
        world.worker.report()
        assert (await client.read()).status == 504


async def test_what_a_retired_upstream_took_is_still_measured(world: World) -> None:
    go = asyncio.Event()

    async def when_told(_: Message) -> bytes:
        await go.wait()
        return answer()

    world.human.answers = when_told
    async with world.client() as client:
        client.send(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
        await world.human.wait_for(1)
        world.timeouts = replace(world.timeouts, response=4.0)
        world.use()
        world.use()
        go.set()
        assert (await client.read()).status == 200
    world.worker.report()
    assert sum(world.told.histograms["upstream_duration_seconds"][("human",)][1:]) == 1


async def test_a_connection_that_comes_back_to_a_retired_pool_is_closed(world: World) -> None:
    closed = asyncio.Event()
    go = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = await read_message(reader)
        assert message is not None
        world.human.note(message)
        await go.wait()
        writer.write(answer())
        await reader.read()
        closed.set()

    world.human.handler = handler
    async with world.client() as client:
        client.send(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
        await world.human.wait_for(1)
        world.timeouts = replace(world.timeouts, response=4.0)
        world.use()
        go.set()
        assert (await client.read()).status == 200
        async with asyncio.timeout(5):
            await closed.wait()


async def test_a_copy_of_a_rollout_that_was_taken_away_times_out(world: World) -> None:
    world.use(shadow=replace(SHADOW_ALL, timeout=0.3))
    world.agent.answers = hang
    assert (await world.ask(X_User_Id="u")).status == 200
    [(_, rollout)] = world.worker.shared.table.rollouts()
    world.worker.use(without_rollout(world))
    await until(lambda: world.fates() == {"timed_out": 1})
    assert (len(rollout.pending.copies), rollout.pending.bytes) == (0, 0)
    outcomes = world.outcomes()
    assert outcomes[("refunds", "v1", "shadow", "1", "agent", "failed")] == 1


async def test_no_copy_is_begun_of_a_rollout_that_was_taken_away(world: World) -> None:
    """Nobody would look at its time any more."""
    world.use(shadow=SHADOW_ALL)
    async with world.client() as client:
        client.send(request("POST", "/refunds", b"x" * 100_000)[:-1])
        await until(lambda: world.worker.shared.inflight == 1)
        world.worker.use(without_rollout(world))
        client.send(b"x")
        assert (await client.read()).status == 200
    assert world.fates() == {"dropped": 1}
    assert world.agent.seen == []


async def test_a_breakers_trip_outlives_a_swap_during_the_request(world: World) -> None:
    world.use(weight=100_000)
    world.agent.answers = lambda _: answer(b"", 500)
    async with world.client() as client, asyncio.timeout(10):
        for number in count():
            if number % 100 < 10:
                world.timeouts = replace(world.timeouts, response=5.0 + number)
                world.use()
            assert (await client.ask(X_User_Id=f"{number}"))["x-crossfade-arm"] == "legacy"
            if world.told.trips:
                break
        seen = len(world.agent.seen)
        world.use()
        assert (await client.ask(X_User_Id="u"))["x-crossfade-arm"] == "legacy"
    assert len(world.told.trips) == 1
    assert len(world.agent.seen) == seen


async def test_the_breakers_connect_failures_are_those_of_the_configuration(world: World) -> None:
    world.use(weight=100_000, epoch=2, breaker=replace(world.rollout.breaker, connect_failures=5))
    await world.agent.stop()
    async with asyncio.timeout(10):
        while not world.told.trips:
            assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] == "legacy"
    # After a failure the agent is left in peace for a moment; before traffic is taken from it, it is asked once more.
    assert world.counts("fallbacks_total")[("refunds", "connect_failure")] in (5, 6)
