"""What remains of requests and connections that are over: nothing; and of requests, without the collector's help."""

import asyncio
import gc
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Final

from proxy.model.snapshot import BUCKETS, KeySource
from tests.integration.gateway.conftest import RECORD_ALL, SHADOW_ALL, World, until
from tests.integration.soak.plan import Planner
from tests.integration.soak.upstream import FaultyUpstream
from tests.integration.soak.visits import Ledger, Visitor

CLIENTS: Final = 20
REQUESTS: Final = 300
OF_A_REQUEST: Final = {"Exchange", "Notes", "PartialAnswer", "Reply", "ShadowCopy"}
OF_A_CONNECTION: Final = {
    "Chunks", "Connection", "Downstream", "HttpRequestParser", "HttpResponseParser", "Request", "RequestReader",
    "Tunnel",
}  # fmt: skip


def alive(names: set[str]) -> dict[str, int]:
    return dict(Counter(name for each in gc.get_objects() if (name := type(each).__name__) in names))


async def test_nothing_remains_of_what_is_over(world: World) -> None:
    came: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
    human, agent = FaultyUpstream("legacy", came), FaultyUpstream("agent", came)
    world.human.handler, world.agent.handler = human.converse, agent.converse
    world.timeouts = world.agent_timeouts = replace(world.timeouts, response=0.5, idle=0.5, keep_alive=0.5)
    world.limits = replace(world.limits, header_timeout=0.5, body_timeout=0.5, idle_timeout=1.0)
    world.use(weight=BUCKETS // 2, key=(KeySource("header", "x-user"),), shadow=SHADOW_ALL, record=RECORD_ALL)
    gc.collect()
    tasks, before = len(asyncio.all_tasks()), alive(OF_A_CONNECTION)
    requests = alive(OF_A_REQUEST)  # of other tests in this process, which hold on to them
    gc.disable()
    try:
        ledger, visits = Ledger(), iter(Planner(7).visits(REQUESTS))

        async def client() -> None:
            for visit in visits:
                await Visitor(world.port, ledger, came).make(visit)

        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(client())
        assert len(ledger.outcomes) > REQUESTS / 2
        assert [*ledger.wrong, *human.wrong, *agent.wrong] == []
        await until(lambda: not world.worker.clients and not world.worker.shared.tunnels)
        upstreams = world.worker.shared.table.upstreams.values()
        await until(lambda: not any(each.idle or each.busy for each in upstreams))
        await until(lambda: alive(OF_A_REQUEST) == requests)
    finally:
        gc.enable()
    await until(lambda: len(asyncio.all_tasks()) == tasks)
    gc.collect()
    assert alive(OF_A_CONNECTION) == before
