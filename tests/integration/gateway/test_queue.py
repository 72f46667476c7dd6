"""Requests in flight at an upstream are bounded, and so are those that wait for their turn."""

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.model.words import Failure
from tests.integration.gateway.conftest import RECORD_ALL, SHADOW_ALL, World, until
from tests.integration.gateway.peers import Message, answer


class Gate:
    """Answers of an upstream that are held back until they are let out, each with the request's body."""

    def __init__(self) -> None:
        self.held: list[asyncio.Event] = []

    async def __call__(self, seen: Message) -> bytes:
        event = asyncio.Event()
        self.held.append(event)
        await event.wait()
        return answer(seen.body)

    def open(self) -> None:
        for event in self.held:
            event.set()


async def test_one_too_many_waits_for_its_turn(world: World) -> None:
    world.human_extra = {"max_inflight": 2, "max_queue": 10}
    world.use()
    world.human.answers = gate = Gate()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(world.ask(body=b"%d" % number)) for number in range(5)]
        human = world.worker.shared.table.upstreams["human"]
        await until(lambda: len(human.waiting) == 3 and len(gate.held) == 2)
        world.worker.report()
        assert world.told.gauges["upstream_queue"][("human",)] == 3
        while not all(task.done() for task in asked):
            gate.open()
            await asyncio.sleep(0.001)
            assert len(human.active) <= 2
    assert sorted(task.result().body for task in asked) == [b"0", b"1", b"2", b"3", b"4"]
    assert world.human.connections == 2


async def test_past_the_queue_it_is_503_with_retry_after(world: World) -> None:
    world.human_extra = {"max_inflight": 1, "max_queue": 1}
    world.use()
    world.human.answers = gate = Gate()
    human = world.worker.shared.table.upstreams["human"]
    async with asyncio.TaskGroup() as group:
        first = group.create_task(world.ask())
        await until(lambda: len(gate.held) == 1)
        second = group.create_task(world.ask())
        await until(lambda: len(human.waiting) == 1)
        said = await world.ask()
        assert (said.status, said["retry-after"]) == (503, "1")
        assert b'"error":"overloaded"' in said.body
        gate.open()
        await until(lambda: len(gate.held) == 2)
        gate.open()
    assert (first.result().status, second.result().status) == (200, 200)


async def test_who_has_waited_too_long_is_told_so(world: World) -> None:
    world.human_extra = {"max_inflight": 1, "queue_timeout": 0.05}
    world.use()
    world.human.answers = gate = Gate()
    async with asyncio.TaskGroup() as group:
        group.create_task(world.ask())
        await until(lambda: len(gate.held) == 1)
        assert (await world.ask()).status == 503
        gate.open()
    assert len(world.human.seen) == 1


async def test_an_agent_without_room_leaves_the_request_to_legacy(world: World) -> None:
    world.extra = {"max_inflight": 1, "max_queue": 0}
    world.use(weight=100_000)
    world.agent.answers = gate = Gate()
    async with asyncio.TaskGroup() as group:
        group.create_task(world.ask(X_User_Id="u"))
        await until(lambda: len(gate.held) == 1)
        said = await world.ask(X_User_Id="u")
        assert (said.status, said["x-crossfade-arm"]) == (200, "legacy")
        gate.open()
    assert world.counts("fallbacks_total") == {("refunds", Failure.OVERLOAD.value): 1}
    assert len(world.agent.seen) == 1


async def test_a_copy_does_not_wait_where_there_is_no_room(world: World) -> None:
    world.extra = {"max_inflight": 1}
    world.use(shadow=SHADOW_ALL)
    world.agent.answers = gate = Gate()
    await world.ask()
    await until(lambda: len(gate.held) == 1)
    await world.ask()
    assert world.fates() == {"dropped": 1}
    gate.open()
    await until(lambda: world.fates() == {"dropped": 1, "mirrored": 1})


async def test_who_left_while_it_waited_costs_nothing(world: World) -> None:
    world.human_extra = {"max_inflight": 1}
    world.use()
    world.human.answers = gate = Gate()
    human = world.worker.shared.table.upstreams["human"]
    async with asyncio.TaskGroup() as group:
        group.create_task(world.ask(body=b"first"))
        await until(lambda: len(gate.held) == 1)
        async with world.client() as client:
            client.send(b"POST /refunds HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\ngone")
            await until(lambda: len(human.waiting) == 1)
            client.reset()
        await until(lambda: world.counts("client_gone_total") == {("refunds",): 1})
        gate.open()
    await until(lambda: not human.waiting)
    assert [seen.body for seen in world.human.seen] == [b"first"]
    assert world.worker.shared.inflight == 0


async def test_a_dial_that_fails_makes_room(world: World) -> None:
    world.human_extra = {"max_inflight": 1}
    world.use()
    await world.human.stop()
    said = await asyncio.gather(*(world.ask() for _ in range(5)))
    assert [each.status for each in said] == [502] * 5


@pytest.mark.parametrize("size", [0, 200_000])
async def test_a_body_waits_with_its_request(world: World, size: int) -> None:
    world.human_extra = {"max_inflight": 1}
    world.use()
    world.human.answers = gate = Gate()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(world.ask())
        await until(lambda: len(gate.held) == 1)
        second = group.create_task(world.ask(body=b"x" * size))
        await until(lambda: len(world.worker.shared.table.upstreams["human"].waiting) == 1)
        gate.open()
        await until(lambda: len(gate.held) == 2)
        gate.open()
    assert (first.result().body, len(second.result().body)) == (b"{}", size)


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_what_is_lacking_here_is_not_the_agents_fault(world: World) -> None:
    """No descriptor is left for one more connection: legacy, which has one, is asked, and no breaker trips."""
    world.use(weight=100_000)
    async with world.client() as client:
        assert (await client.ask(target="/plain")).status == 200
        with no_more_descriptors():
            said = [await client.ask(X_User_Id="u") for _ in range(12)]
        assert [each["x-crossfade-arm"] for each in said] == ["legacy"] * 12
        assert world.counts("fallbacks_total") == {("refunds", "overload"): 12}
        assert world.outcomes()[("refunds", "v1", "shadow", "1", "agent", "failed")] == 0
        assert (await client.ask(X_User_Id="u"))["x-crossfade-arm"] == "agent"


async def test_a_copy_that_lacks_something_here_is_dropped_and_no_evidence(world: World) -> None:
    world.use(shadow=SHADOW_ALL, record=RECORD_ALL)
    async with world.client() as client:
        assert (await client.ask(target="/plain")).status == 200
        with no_more_descriptors():
            assert (await client.ask(X_User_Id="u")).status == 200
            await until(lambda: world.fates() == {"dropped": 1})
    assert world.outcomes() == {("refunds", "v1", "shadow", "1", "legacy", "ok"): 1}
    [record] = await world.records(1)
    assert (record.fate, record.agent) == ("dropped", None)


async def test_a_copy_that_the_end_of_the_worker_cuts_off_is_no_evidence(world: World) -> None:
    world.use(shadow=SHADOW_ALL)
    world.agent.answers = Gate()
    assert (await world.ask(X_User_Id="u")).status == 200
    await world.agent.wait_for(1)
    await world.worker.drain(0.0)
    assert world.fates() == {"dropped": 1}
    assert world.outcomes() == {("refunds", "v1", "shadow", "1", "legacy", "ok"): 1}
