"""Health checks: an agent that is down is not asked, legacy always is, and no check is taken for a request."""

import asyncio
import socket
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from proxy.gateway.upstream import Upstream
from proxy.model.snapshot import BUCKETS, HealthCheck, RecordSpec, ShadowSpec
from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.peers import Message, ScriptedUpstream, answer, request

ONCE = HealthCheck("/healthz", interval=60.0, timeout=1.0, unhealthy=1, healthy=1)
"""One check, and what it finds stays."""
OFTEN = HealthCheck("/healthz", interval=0.1, timeout=1.0, unhealthy=3, healthy=2)


def watch_agent(world: World, check: HealthCheck | None, **changes: object) -> None:
    """All users are the agent's, which is checked."""
    world.extra = {"health_check": check}
    world.use(**{"weight": BUCKETS, **changes})


def agent(world: World) -> Upstream:
    return world.worker.shared.table.upstreams["agent"]


def well(healthy: bool) -> bytes:
    return answer(b"ok", 200 if healthy else 500)


def checks(upstream: ScriptedUpstream) -> list[Message]:
    return [request for request in upstream.seen if request.target == "/healthz"]


async def judged(world: World, result: str, count: int = 1) -> None:
    await until(lambda: world.counts("health_checks_total")[("agent", result)] >= count)


# --- what it does to traffic


async def test_an_agent_that_is_down_is_not_asked_and_legacy_serves_at_once(world: World) -> None:
    world.agent.answers = lambda _: well(False)
    world.human.answers = lambda _: answer(b"human")
    watch_agent(world, ONCE)
    await judged(world, "failed")
    for _ in range(5):
        said = await world.ask(X_User_Id="u")
        assert (said.status, said.body, said["x-crossfade-arm"]) == (200, b"human", "legacy")
    assert world.agent.connections == 1  # the check's
    assert world.counts("fallbacks_total") == {("refunds", "connect_failure"): 5}


async def test_who_waits_for_an_agent_that_falls_goes_to_legacy_at_once(world: World) -> None:
    async def hangs(seen: Message) -> bytes:
        if seen.target != "/healthz":
            await asyncio.sleep(60)
        return well(not stuck())

    def stuck() -> bool:
        return any(seen.target == "/refunds" for seen in world.agent.seen)

    world.agent.answers = hangs
    world.extra = {"health_check": replace(OFTEN, unhealthy=1), "max_inflight": 1, "queue_timeout": 60.0}
    world.use(weight=BUCKETS)
    async with world.client() as first, world.client() as second:
        first.send(request(X_User_Id="u"))
        second.send(request(X_User_Id="u"))
        assert (await second.read())["x-crossfade-arm"] == "legacy"
    assert world.counts("fallbacks_total") == {("refunds", "connect_failure"): 1}


async def test_a_copy_is_not_sent_to_an_agent_that_is_down(world: World) -> None:
    world.agent.answers = lambda _: well(False)
    watch_agent(world, ONCE, weight=0, shadow=ShadowSpec(share=BUCKETS))
    await judged(world, "failed")
    assert (await world.ask(X_User_Id="u")).status == 200
    await until(lambda: world.fates() == {"failed": 1})
    assert world.agent.connections == 1


async def test_it_falls_after_so_many_bad_ones_and_comes_back_after_so_many_good_ones(world: World) -> None:
    bad, good = list[bool](), list[bool]()
    """Whether it counted as healthy when a check came that it answered badly, or well."""

    def answers(request: Message) -> bytes:
        if request.target != "/healthz":
            return answer(b"agent")
        is_well = len(bad) >= 4
        (good if is_well else bad).append(agent(world).healthy)
        return well(is_well)

    world.agent.answers = answers
    with capture_logs() as logs:
        watch_agent(world, OFTEN)
        await until(lambda: len(good) >= 3)
    assert bad == [True, True, True, False]
    assert good[:3] == [False, False, True]
    assert (await world.ask(X_User_Id="u")).body == b"agent"
    told = [log for log in logs if log["event"].startswith("upstream_")]
    assert told == [
        {
            "event": "upstream_unhealthy",
            "log_level": "warning",
            "upstream": "agent",
            "reason": "3 health checks in a row failed, the last one: it answered 500",
        },
        {
            "event": "upstream_healthy",
            "log_level": "info",
            "upstream": "agent",
            "reason": "2 health checks in a row passed",
        },
    ]


async def test_legacy_is_asked_whatever_its_checks_say(world: World) -> None:
    world.human.answers = lambda request: well(False) if request.target == "/healthz" else answer(b"human")
    snapshot = world.snapshot()
    human, *others = snapshot.upstreams
    world.worker.use(replace(snapshot, upstreams=(replace(human, health_check=ONCE), *others)))
    await until(lambda: not world.worker.shared.table.upstreams["human"].healthy)
    assert (await world.ask(target="/plain")).body == b"human"
    world.worker.report()
    assert world.told.gauges["upstream_healthy"] == {("human",): 0.0}


# --- what is counted


async def test_checks_are_counted_and_taken_for_no_requests(world: World) -> None:
    watch_agent(world, OFTEN)
    await judged(world, "passed", 3)
    assert set(world.told.counts) == {"health_checks_total"}
    assert set(world.told.counts["health_checks_total"]) == {("agent", "passed")}
    assert world.told.histograms == {}
    assert world.told.gauges["upstream_healthy"] == {("agent",): 1.0}


async def test_a_check_takes_no_requests_place(world: World) -> None:
    go = asyncio.Event()

    async def later(seen: Message) -> bytes:
        if seen.target == "/healthz":
            await go.wait()
        return answer()

    world.agent.answers = later
    world.extra = {"health_check": ONCE, "max_inflight": 1, "max_queue": 0}
    world.use(weight=BUCKETS)
    await world.agent.wait_for(1)
    assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] == "agent"
    go.set()
    await judged(world, "passed")
    assert agent(world).checks == 0


async def test_without_health_checks_nothing_is_asked_and_nothing_said(world: World) -> None:
    world.worker.sweep_upstreams()
    world.worker.report()
    assert world.told.gauges["upstream_healthy"] == {}
    assert world.agent.connections == 0


# --- what passes


@pytest.mark.parametrize(
    "said",
    [
        answer(b"ok"),
        answer(b"", 299),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(b"ok"),
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        answer(b"x" * 60_000),
    ],
)
async def test_a_whole_answer_of_2xx_passes_and_leaves_no_connection(world: World, said: bytes) -> None:
    world.agent.answers = lambda _: said
    watch_agent(world, ONCE)
    await judged(world, "passed")
    (request,) = checks(world.agent)
    assert request.start == "GET /healthz HTTP/1.1"
    assert request["user-agent"] == "crossfade-health"
    assert not agent(world).busy
    assert agent(world).checks == 0
    assert not agent(world).idle
    await until(lambda: not world.agent._tasks)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer(b"", 300), "it answered 300"),
        (answer(b"", 404), "it answered 404"),
        (answer(b"", 503), "it answered 503"),
        (b"SSH-2.0-OpenSSH\r\n", "upstream agent: not HTTP"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "upstream agent: "),
        (answer(b"x" * 2_000_000), "its answer is over 65536 bytes"),
    ],
)
async def test_anything_else_fails_and_leaves_no_connection(world: World, said: bytes, reason: str) -> None:
    world.agent.answers = lambda _: said
    with capture_logs() as logs:
        watch_agent(world, ONCE)
        await judged(world, "failed")
    (told,) = [log["reason"] for log in logs if log["event"] == "upstream_unhealthy"]
    assert told.startswith(f"1 health checks in a row failed, the last one: {reason}")
    assert not agent(world).busy
    assert agent(world).checks == 0
    assert not agent(world).idle
    await until(lambda: not world.agent._tasks)


async def test_an_upstream_that_refuses_fails(world: World) -> None:
    await world.agent.stop()
    watch_agent(world, ONCE)
    await judged(world, "failed")
    assert not agent(world).healthy


# --- what stalls


@pytest.mark.parametrize(
    "half",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"HTTP/1.1 200 OK\r\n\r\n"],
)
async def test_an_upstream_that_stalls_fails_in_time_and_its_connection_is_closed(world: World, half: bytes) -> None:
    closed = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(half)
            while await reader.read(1 << 16):
                pass
        finally:
            closed.set()

    world.agent.handler = stall
    watch_agent(world, replace(ONCE, timeout=0.2))
    await judged(world, "failed")
    async with asyncio.timeout(5):
        await closed.wait()
    assert not agent(world).busy
    assert agent(world).checks == 0
    assert not agent(world).healthy


async def test_an_answer_without_an_end_fails_long_before_its_time(world: World) -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 8192)
            await writer.drain()

    world.agent.handler = flood
    watch_agent(world, replace(ONCE, timeout=60.0))
    await judged(world, "failed")
    await until(lambda: not world.agent._tasks)


async def test_an_upstream_that_does_not_accept_is_not_dialled_again_and_again(world: World) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        full.setblocking(False)
        world.agent.port = full.getsockname()[1]
        world.agent_timeouts = replace(world.agent_timeouts, connect=4.0)
        most = 0

        def failed_three_times() -> bool:
            nonlocal most
            most = max(most, agent(world).dialling)
            return world.counts("health_checks_total")[("agent", "failed")] >= 3

        watch_agent(world, replace(OFTEN, timeout=0.1))
        await until(failed_three_times)
        assert most == 1
        assert not agent(world).healthy
        # Now there is room: the check that is long over gets its connection, and has no use for it.
        async with asyncio.timeout(5):
            first, _ = await loop.sock_accept(full)
            late, _ = await loop.sock_accept(full)
            with first, late:
                assert await loop.sock_recv(late, 1) == b""


async def test_a_check_under_way_does_not_hold_the_drain(world: World) -> None:
    async def stall(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    world.agent.handler = stall
    watch_agent(world, replace(ONCE, timeout=60.0))
    await until(lambda: world.agent.connections == 1)
    async with asyncio.timeout(2):
        await world.worker.drain(60.0)
        await until(lambda: not world.agent._tasks)


# --- a new snapshot


async def test_what_is_known_of_an_upstream_goes_to_the_next_table(world: World) -> None:
    world.agent.answers = lambda _: well(False)
    watch_agent(world, ONCE)
    await judged(world, "failed")
    before = agent(world)
    world.use(record=RecordSpec(headers=("x-other",)))  # a pool with other headers to look out for
    assert agent(world) is not before
    assert not agent(world).healthy
    world.worker.sweep_upstreams()
    assert world.agent.connections == 1


async def test_a_check_under_way_is_judged_for_the_next_table(world: World) -> None:
    go = asyncio.Event()

    async def when_told(_: Message) -> bytes:
        await go.wait()
        return well(False)

    world.agent.answers = when_told
    watch_agent(world, ONCE)
    await world.agent.wait_for(1)
    before = agent(world)
    world.use(record=RecordSpec(headers=("x-other",)))
    go.set()
    await until(lambda: not agent(world).healthy)
    assert before.healthy
    assert not before.busy


async def test_an_upstream_that_changed_begins_healthy_and_is_checked_at_once(world: World) -> None:
    world.agent.answers = lambda _: well(False)
    watch_agent(world, ONCE)
    await judged(world, "failed")
    world.agent.answers = lambda _: answer(b"agent")
    watch_agent(world, replace(ONCE, path="/ready"))
    assert (await world.ask(X_User_Id="u")).body == b"agent"
    await judged(world, "passed")
    assert [request.target for request in world.agent.seen if request.start.startswith("GET")] == ["/healthz", "/ready"]


async def test_checks_that_were_taken_out_end(world: World) -> None:
    async def stall(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    world.agent.handler = stall
    watch_agent(world, replace(ONCE, timeout=60.0))
    await until(lambda: world.agent.connections == 1)
    watch_agent(world, None)
    await until(lambda: not world.agent._tasks)
    world.worker.report()
    assert world.told.gauges["upstream_healthy"] == {}
    assert world.counts("health_checks_total") == {}
    assert world.worker.shared.table.retired == []
