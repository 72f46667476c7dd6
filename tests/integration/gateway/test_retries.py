"""Once more only where nothing is done twice by it, after a pause, and within the budget."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from proxy.gateway import upstream
from proxy.model.snapshot import BUCKETS, Retry
from proxy.telemetry.tasks import spawn
from tests.integration.gateway.conftest import TIMEOUTS, World, until
from tests.integration.gateway.peers import Message, answer, read_message, request


async def drops_the_second(world: World, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers the first request of its first connection, reads the second and closes: what a keep-alive time-out of
    the upstream looks like that was met too late. Later connections serve."""
    served = 0
    first = world.human.connections == 1
    while (message := await read_message(reader)) is not None:
        world.human.note(message)
        if first and served:
            return
        served += 1
        writer.write(answer())


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("PUT", {}, 200),
        ("DELETE", {}, 200),
        ("POST", {}, 502),
        ("PATCH", {}, 502),
        ("POST", {"Idempotency_Key": "k1"}, 200),
    ],
)
async def test_a_stale_connection_is_replaced_where_that_is_safe(
    world: World, method: str, headers: dict[str, str], status: int
) -> None:
    world.human.handler = lambda reader, writer: drops_the_second(world, reader, writer)
    async with world.client() as client:
        assert (await client.ask("GET", body=b"")).status == 200
        said = await client.ask(method, body=b"" if method == "GET" else b"two", **headers)
    assert said.status == status
    assert len(world.human.seen) == (3 if status == 200 else 2)
    assert world.counts("retries_total") == ({("human", "stale"): 1} if status == 200 else {})


async def test_a_connection_that_closed_before_anything_was_sent_is_replaced_for_any_method(world: World) -> None:
    async with world.client() as client:
        assert (await client.ask()).status == 200
        [pooled] = world.worker.shared.table.upstreams["human"].idle
        [downstream] = world.worker.clients
        pooled.transport.abort()  # in one turn of the loop: it closes, and the next request is given to it
        downstream.data_received(request("POST", "/refunds", b"two"))
        assert (await client.read()).status == 200
    assert [seen.body for seen in world.human.seen] == [b"{}", b"two"]
    assert world.counts("retries_total") == {("human", "stale"): 1}


async def test_what_has_left_in_part_is_not_sent_again(world: World) -> None:
    """The agent fails, legacy gets the request on a pooled connection, and in that turn of the loop it closes: a large
    piece of the body has left already, the rest has not."""
    world.use(weight=BUCKETS)

    async def hangs(_: Message) -> bytes:
        await asyncio.sleep(60)
        return b""

    world.agent.answers = hangs
    async with world.client() as client:
        assert (await client.ask("GET", "/plain", b"")).status == 200
        upstreams = world.worker.shared.table.upstreams
        [pooled] = upstreams["human"].idle
        [downstream] = world.worker.clients
        asked = request("POST", "/refunds", b"x" * 100_000, X_User_Id="u")
        downstream.data_received(asked[:90_000])
        downstream.data_received(asked[90_000:])
        await world.agent.wait_for(1)
        [attempt] = upstreams["agent"].active
        attempt.data_received(answer(b"", 500))
        pooled.transport.abort()
        pooled.connection_lost(None)
        assert (await client.read()).status == 502
    assert len(world.human.seen) == 1
    assert world.counts("retries_total") == {}


@pytest.mark.parametrize(("method", "headers"), [("POST", {}), ("PUT", {}), ("POST", {"Idempotency_Key": "k"})])
async def test_503_is_asked_again_only_of_what_may_be_repeated(
    world: World, method: str, headers: dict[str, str]
) -> None:
    world.human_extra = {"retry": Retry(attempts=2, on=frozenset({"503"}), backoff=0.001)}
    world.use()
    world.human.answers = lambda _: answer(b"", 503) if len(world.human.seen) < 3 else answer(b"well")
    said = await world.ask(method, **headers)
    repeatable = method == "PUT" or bool(headers)
    assert (said.status, len(world.human.seen)) == ((200, 3) if repeatable else (503, 1))


async def test_a_reset_is_asked_again_only_of_what_may_be_repeated(world: World) -> None:
    world.human_extra = {"retry": Retry(attempts=1, on=frozenset({"reset"}), backoff=0.001)}
    world.use()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = await read_message(reader)
        assert message is not None
        world.human.note(message)
        if len(world.human.seen) % 2 == 0:
            writer.write(answer())

    world.human.handler = handler
    assert (await world.ask("PUT")).status == 200
    assert world.counts("retries_total") == {("human", "reset"): 1}
    assert (await world.ask("POST")).status == 502
    assert len(world.human.seen) == 3


async def test_an_agent_that_did_not_accept_is_dialled_once_more_and_only_for_that_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[str] = []

    def count(coroutine: Any, name: str) -> Any:
        dialled.append(name)
        return spawn(coroutine, name)

    monkeypatch.setattr(upstream, "spawn", count)
    world.extra = {"retry": Retry(attempts=1, on=frozenset({"connect_failure"}), backoff=0.001)}
    world.use(weight=BUCKETS)
    await world.agent.stop()
    for _ in range(2):
        assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] == "legacy"
    assert dialled.count("dial agent") == 2
    assert world.counts("retries_total") == {("agent", "connect_failure"): 1}


async def test_who_leaves_in_the_pause_is_not_asked_for(world: World) -> None:
    world.human_extra = {"retry": Retry(attempts=1, on=frozenset({"503"}), backoff=5.0)}
    world.use()
    world.human.answers = lambda _: answer(b"", 503)
    async with world.client() as client:
        client.send(b"GET /refunds HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: world.counts("retries_total") == {("human", "503"): 1})
        client.reset()
    await until(lambda: world.worker.shared.inflight == 0)
    assert world.counts("client_gone_total") == {("refunds",): 1}
    assert len(world.human.seen) == 1


async def test_the_total_time_holds_for_an_answer_that_never_ends(world: World) -> None:
    world.timeouts = replace(TIMEOUTS, total=0.3)
    world.use()

    async def drips(seen: Message) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"

    world.human.answers = drips
    async with world.client() as client:
        client.send(b"GET /refunds HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.reader.readexactly(1000)
    assert world.outcomes()[("refunds", "v1", "shadow", "1", "legacy", "failed")] == 1


async def test_the_total_time_before_any_answer_is_504(world: World) -> None:
    world.timeouts = replace(TIMEOUTS, total=0.2)
    world.use()

    async def hang(_: Message) -> bytes:
        await asyncio.sleep(60)
        return b""

    world.human.answers = hang
    assert (await world.ask()).status == 504


async def test_a_pooled_connection_rests_no_longer_than_keep_alive(world: World) -> None:
    world.timeouts = replace(TIMEOUTS, keep_alive=0.1)
    world.use()
    assert (await world.ask()).status == 200
    human = world.worker.shared.table.upstreams["human"]
    assert len(human.idle) == 1
    await until(lambda: not human.idle)
