"""How it ends: SIGTERM to the supervisor, to all processes at once, or with a control process that hangs."""

import asyncio
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress

import pytest

from proxy.telemetry.tasks import spawn
from tests.e2e.processes import alive_below
from tests.integration.control_world import PATIENCE, Crossfade, Stage, all_seen, slowly
from tests.integration.gateway.peers import Client, connect, read_message, request

HEAD = b"POST /refunds/1 HTTP/1.1\r\nHost: shop.example\r\nX-User: u\r\nContent-Length: 2\r\n"
LONGEST_END = 27.0
"""Seconds beyond drain_delay and drain_timeout, as the README says."""


@asynccontextmanager
async def client(crossfade: Crossfade) -> AsyncIterator[Client]:
    async with connect(crossfade.port) as connected:
        yield connected


async def readiness(crossfade: Crossfade) -> tuple[int, list[str]]:
    async with crossfade.session.get(crossfade.admin + "/readyz") as response:
        return response.status, (await response.json()).get("reasons", [])


async def ready(crossfade: Crossfade) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await readiness(crossfade))[0] != 200:
            await asyncio.sleep(0.01)


async def unready(crossfade: Crossfade) -> list[str]:
    """Why it is not ready any more, as soon as it is not."""
    async with asyncio.timeout(PATIENCE):
        while True:
            status, reasons = await readiness(crossfade)
            if status == 503:
                return reasons
            await asyncio.sleep(0.005)


async def refused(crossfade: Crossfade) -> None:
    """Returns as soon as nobody listens any more."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(ConnectionRefusedError):
                async with client(crossfade) as late:
                    assert await late.reader.read() == b"", "it was let in, and not answered"
                    continue
            return


async def seen_again(crossfade: Crossfade, answers: int) -> None:
    """After the next start the store holds exactly what was answered."""
    await crossfade.start()
    await crossfade.until(lambda route: all_seen(answers, route))


async def test_the_end_in_its_order(scene: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    await ready(crossfade)
    async with client(crossfade) as rests, client(crossfade) as asks, client(crossfade) as begins:
        assert (await rests.ask("POST", "/refunds/1", x_user="u")).status == 200
        done = slowly(scene)
        asks.send(request("POST", "/refunds/2", x_user="u"))
        begins.send(HEAD)  # no empty line yet
        await scene.human.wait_for(2)

        crossfade.tell(signal.SIGTERM)
        assert await unready(crossfade) == ["draining"]
        assert await rests.closed()
        await refused(crossfade)

        begins.send(b"\r\n{}")
        await scene.human.wait_for(3)
        assert await unready(crossfade) == ["draining"]
        done.set()
        for late in (asks, begins):
            answered = await late.read()
            assert (answered.status, answered["connection"]) == (200, "close")
            assert await late.closed()
    assert await crossfade.ended() == 0
    assert crossfade.log[-1]["clean"] is True
    await seen_again(crossfade, 3)


async def test_who_is_connected_may_still_ask(scene: Stage, crossfade: Crossfade) -> None:
    """The end is told by an answer: a request may be on its way at the very moment when we begin to drain."""
    await crossfade.start()
    async with client(crossfade) as fresh, client(crossfade) as busy:
        crossfade.tell(signal.SIGTERM)
        asked, answered = 1, await busy.ask("POST", "/refunds/1", x_user="u")
        while answered["connection"] != "close":
            asked, answered = asked + 1, await busy.ask("POST", "/refunds/1", x_user="u")
        assert await busy.closed()
        answered = await fresh.ask("POST", "/refunds/1", x_user="u")
        assert (answered.status, answered["connection"]) == (200, "close")
    assert await crossfade.ended() == 0
    await seen_again(crossfade, asked + 1)


async def test_what_does_not_finish_in_time_is_cut_off(scene: Stage, crossfade: Crossfade) -> None:
    scene.write(("drain_timeout: 5s", "drain_timeout: 300ms"))
    await crossfade.start()
    slowly(scene)
    async with client(crossfade) as asks, client(crossfade) as begins:
        asks.send(request("POST", "/refunds/1", x_user="u"))
        begins.send(HEAD)
        await scene.human.wait_for(1)
        assert await crossfade.stop() == 0
        assert await asks.closed()
        assert await begins.closed()
    (line,) = (line for line in crossfade.log if line["event"] == "drained")
    assert line["cut_off"] == 2


async def test_a_tunnel_has_its_time_too(scene: Stage, crossfade: Crossfade) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data)

    scene.human.handler = echo
    await crossfade.start()
    async with client(crossfade) as talks:
        talks.send(request("GET", "/refunds/1", b"", connection="upgrade", upgrade="websocket", x_user="u"))
        assert (await talks.read(bodiless=True)).status == 101
        crossfade.tell(signal.SIGTERM)
        await refused(crossfade)
        talks.send(b"still there?")
        assert await talks.reader.readexactly(12) == b"still there?"
        talks.writer.write_eof()
        assert await talks.closed()
    assert await crossfade.ended() == 0
    (line,) = (line for line in crossfade.log if line["event"] == "drained")
    assert line["cut_off"] == 0


async def test_who_is_let_in_is_answered_however_many_come_at_that_moment(scene: Stage, crossfade: Crossfade) -> None:
    """Without a shut door those in the queues, and those in their handshake, would be reset."""
    scene.write(("listen:", "workers: 2\nlisten:"))
    await crossfade.start()
    ask = request("POST", "/refunds/1", x_user="u", connection="close")
    answers = 0

    async def come_and_go() -> None:
        nonlocal answers
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", crossfade.port)
            except ConnectionRefusedError:
                return
            writer.write(ask)
            assert (await reader.read()).startswith(b"HTTP/1.1 200 "), "it was let in, and not answered"
            writer.close()
            answers += 1

    async with asyncio.TaskGroup() as crowd:
        for _ in range(32):
            crowd.create_task(come_and_go())
        while answers < 200:
            await asyncio.sleep(0.005)
        crossfade.tell(signal.SIGTERM)
    assert await crossfade.ended() == 0
    await seen_again(crossfade, answers)


async def test_who_waits_to_be_accepted_is_served_and_nobody_after_them(scene: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    crossfade.kill("worker 1", signal.SIGSTOP)
    async with AsyncExitStack() as connections:
        queue = [await connections.enter_async_context(client(crossfade)) for _ in range(20)]
        for waiting in queue:
            waiting.send(request("POST", "/refunds/1", x_user="u"))
        crossfade.tell(signal.SIGTERM)
        await crossfade.line("draining")
        with closing(socket.socket()) as late:
            late.setblocking(False)
            assert late.connect_ex(("127.0.0.1", crossfade.port)) == errno.EINPROGRESS
            crossfade.kill("worker 1", signal.SIGCONT)
            for waiting in queue:
                assert (await waiting.read()).status == 200
                assert await waiting.closed()
            assert await crossfade.ended() == 0
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(ConnectionError):
                    await asyncio.get_running_loop().sock_sendall(late, b"?")
    await seen_again(crossfade, 20)


# The delay


async def test_in_the_delay_it_serves_although_it_is_not_ready(scene: Stage, crossfade: Crossfade) -> None:
    scene.write(("drain_timeout:", "drain_delay: 1h\ndrain_timeout:"), ("listen:", "workers: 2\nlisten:"))
    await crossfade.start()
    await ready(crossfade)
    crossfade.tell(signal.SIGTERM)
    assert await unready(crossfade) == ["draining"]
    await crossfade.forget_connections()
    assert await crossfade.ask() == (200, "legacy")

    before = len(crossfade.log)
    crossfade.kill("worker 1")
    crossfade.kill("control")
    await crossfade.line("child_started", after=before, child="worker 1")
    await crossfade.line("child_started", after=before, child="control")
    await crossfade.forget_connections()
    assert await crossfade.ask_many(5) == [(200, "legacy")] * 5
    assert await unready(crossfade) == ["draining"]
    assert await crossfade.stop() == 1  # told twice
    assert alive_below() == {}


async def test_after_the_delay_it_drains(scene: Stage, crossfade: Crossfade) -> None:
    scene.write(("drain_timeout:", "drain_delay: 700ms\ndrain_timeout:"))
    await crossfade.start()
    begun = asyncio.get_running_loop().time()
    crossfade.tell(signal.SIGTERM)
    await crossfade.line("stopping")
    assert await crossfade.ask() == (200, "legacy")
    assert await crossfade.ended() == 0
    assert asyncio.get_running_loop().time() - begun >= 0.7
    await seen_again(crossfade, 1)


# Odd ends


async def test_told_all_at_once_as_by_a_service_manager(scene: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    done = slowly(scene)
    asking = spawn(crossfade.ask(), "asking")
    await scene.human.wait_for(1)
    for pid in (crossfade.pid, *alive_below(crossfade.pid)):
        os.kill(pid, signal.SIGTERM)
    await crossfade.line("stopping")
    done.set()
    assert await asking == (200, "legacy")
    assert await crossfade.ended() == 0
    await seen_again(crossfade, 1)


async def test_a_control_process_that_is_told_alone_waits_for_the_workers_counts(
    scene: Stage, crossfade: Crossfade
) -> None:
    scene.write(("drain_timeout: 5s", "drain_timeout: 1h"))
    await crossfade.start()
    await ready(crossfade)
    crossfade.kill("control", signal.SIGTERM)
    assert await unready(crossfade) == ["draining"]
    assert await crossfade.ask() == (200, "legacy")
    assert await crossfade.stop() == 0
    await seen_again(crossfade, 1)


async def test_a_control_process_that_hangs_holds_up_the_end_for_a_bounded_time_and_costs_no_count(
    crossfade: Crossfade,
) -> None:
    await crossfade.start()
    assert await crossfade.ask() == (200, "legacy")
    await crossfade.until(lambda route: all_seen(1, route))
    crossfade.kill("control", signal.SIGSTOP)
    assert await crossfade.ask_many(20) == [(200, "legacy")] * 20
    begun = asyncio.get_running_loop().time()
    assert await crossfade.stop() == 1
    assert asyncio.get_running_loop().time() - begun < LONGEST_END
    assert await crossfade.line("child_killed", child="control")
    await seen_again(crossfade, 21)
