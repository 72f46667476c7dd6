"""Clients that go away: their upstream's work ends too, and no arm is blamed."""

import asyncio
from dataclasses import replace

import pytest

from proxy.gateway import downstream
from proxy.model.snapshot import BUCKETS
from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.peers import Message, answer, request


class Busy:
    """An upstream that never answers, and sees when its connection ends."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.begun += 1
        try:
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        self.cancelled += 1


@pytest.mark.parametrize("weight", [0, BUCKETS])
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_client_that_goes_cancels_its_request(
    world: World, how: str, weight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A close looks as if it had only said all: it is found out by what it answers when it is spoken to."""
    monkeypatch.setattr(downstream, "_ASK", 0.0)  # compiled it stays what it is
    world.use(weight=weight)
    world.human.handler = world.agent.handler = busy = Busy()
    async with world.client() as client:
        client.send(request("POST", "/refunds", b"{}", X_User_Id="u"))
        await until(lambda: busy.begun == 1)
        if how == "reset":
            client.reset()
        else:
            client.writer.close()
        await until(lambda: busy.cancelled == 1)
    assert world.counts("client_gone_total") == {("refunds",): 1}
    assert world.outcomes() == {}
    assert world.still_open() == 0
    assert world.counts("fallbacks_total") == {}
    assert world.worker.shared.inflight == 0


async def test_a_client_that_only_half_closes_gets_its_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream, "_ASK", 0.0)  # compiled it stays what it is
    world.use()
    go_on = asyncio.Event()

    async def later(_: Message) -> bytes:
        await go_on.wait()
        return answer(b"late but whole")

    world.human.answers = later
    async with world.client() as client:
        client.send(request("POST", "/refunds", b"{}"))
        client.writer.write_eof()
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"  # "are you there?"
        go_on.set()
        assert (await client.read()).body == b"late but whole"
        assert await client.closed()


async def test_a_quick_answer_comes_without_a_question(world: World) -> None:
    world.use()
    async with world.client() as client:
        client.send(request("POST", "/refunds", b"{}"))
        client.writer.write_eof()
        assert (await client.read()).status == 200


async def test_the_end_of_its_side_may_come_just_with_the_answer(world: World) -> None:
    """What the gateway wrote leaves at the end of the loop's turn, and in that turn the client's end is read."""
    world.human_extra = {"max_inflight": 1, "max_queue": 0}
    world.use()
    async with world.client() as other:
        go_on = asyncio.Event()

        async def later(_: Message) -> bytes:
            await go_on.wait()
            return answer()

        world.human.answers = later
        other.send(request())
        await world.human.wait_for(1)
        async with world.client() as client:
            client.send(request("GET", "/plain", b""))
            client.writer.write_eof()
            assert (await client.read()).status == 503
            assert await client.closed()
        go_on.set()
        await other.read()


async def test_an_old_client_is_not_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP/1.0 knows no 1xx (RFC 9110, section 15.2)."""
    monkeypatch.setattr(downstream, "_ASK", 0.0)  # compiled it stays what it is
    go_on = asyncio.Event()

    async def later(_: Message) -> bytes:
        await go_on.wait()
        return answer(b"late")

    world.human.answers = later
    async with world.client() as client:
        client.send(b"GET /plain HTTP/1.0\r\nHost: a\r\n\r\n")
        client.writer.write_eof()
        await world.human.wait_for(1)
        world.worker.sweep_clients()
        go_on.set()
        assert (await client.read()).body == b"late"


async def test_a_connection_serves_so_many_requests_and_no_more(world: World) -> None:
    world.limits = replace(world.limits, max_requests=3)
    world.use()
    async with world.client() as client:
        said = [await client.ask() for _ in range(3)]
        assert [each["connection"] for each in said] == [None, None, "close"]
        assert await client.closed()


async def test_a_body_that_drips_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes within `body_timeout`; together they come too slowly."""
    world.limits = replace(world.limits, body_timeout=0.2, min_body_rate=100)
    world.use()
    async with world.client() as client:
        client.send(b"POST /refunds HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")

        async def drip() -> None:
            while True:
                client.send(b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.get_running_loop().create_task(drip())
        said = await client.read()
        dripping.cancel()
    assert (said.status, said["connection"]) == (408, "close")
    assert world.counts("refused_total") == {("request_timeout",): 1}


async def test_a_body_that_the_upstream_holds_up_is_not_too_slow(world: World) -> None:
    world.limits = replace(world.limits, body_timeout=0.2, min_body_rate=10_000_000)
    world.use()
    go_on = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        await reader.readexactly(20 << 20)
        writer.write(answer(b"all of it"))

    world.human.handler = handler
    async with world.client() as client:
        client.send(request("POST", "/refunds", b"x" * (20 << 20)))
        [downstream_] = world.worker.clients
        await until(lambda: not downstream_.transport.is_reading())
        held = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > held + 0.5)
        go_on.set()
        assert (await client.read()).body == b"all of it"


async def test_a_body_that_waited_for_its_turn_has_its_time_from_then_on(world: World) -> None:
    world.limits = replace(world.limits, body_timeout=1.5)
    world.human_extra = {"max_inflight": 1}
    world.use()
    go_on = asyncio.Event()

    async def later(seen: Message) -> bytes:
        if seen.start.startswith("GET"):
            await go_on.wait()
        return answer()

    world.human.answers = later
    async with world.client() as first, world.client() as second:
        first.send(request("GET", "/plain", b""))
        await world.human.wait_for(1)
        second.send(request("POST", "/plain", b"x" * 100_000)[:-1])
        begun = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > begun + 1.3)
        go_on.set()
        await until(lambda: asyncio.get_running_loop().time() > begun + 2.6)
        second.send(b"x")
        assert (await second.read()).status == 200
