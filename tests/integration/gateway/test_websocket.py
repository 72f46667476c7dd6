"""A real WebSocket client and a real WebSocket server, with the gateway in between."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from proxy.model.snapshot import BUCKETS
from tests.integration.gateway.conftest import SHADOW_ALL, World, until


class Room:
    """Says `<name>: <text>` to each text, sends back each binary message, closes with 4001 on `leave`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed: list[int | None] = []

    async def talk(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("chat",))
        await socket.prepare(request)
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            elif message.data == "leave":
                await socket.close(code=4001, message=b"as you wish")
            else:
                await socket.send_str(f"{self.name}: {message.data}")
        self.closed.append(socket.close_code)
        return socket


async def serve(room: Room) -> tuple[web.AppRunner, int]:
    app = web.Application()
    app.router.add_get("/refunds/live", room.talk)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, runner.addresses[0][1]


@pytest.fixture
async def rooms(world: World) -> AsyncIterator[dict[str, Room]]:
    """Both arms are WebSocket servers."""
    rooms = {"legacy": Room("legacy"), "agent": Room("agent")}
    await world.human.stop()
    await world.agent.stop()
    runners = []
    for scripted, name in ((world.human, "legacy"), (world.agent, "agent")):
        runner, scripted.port = await serve(rooms[name])
        runners.append(runner)
    yield rooms
    for runner in runners:
        await runner.cleanup()


@pytest.mark.parametrize(("weight", "arm"), [(0, "legacy"), (BUCKETS, "agent")])
async def test_a_conversation(world: World, rooms: dict[str, Room], weight: int, arm: str) -> None:
    world.use(weight=weight, shadow=SHADOW_ALL)
    url = f"http://127.0.0.1:{world.port}/refunds/live"
    async with (
        aiohttp.ClientSession(headers={"x-user-id": "u"}) as session,
        session.ws_connect(url, protocols=("chat",), compress=15) as socket,
    ):
        assert socket.protocol == "chat"
        await socket.send_str("good morning")
        assert await socket.receive_str() == f"{arm}: good morning"
        for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000):
            data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            await socket.send_bytes(data)
            assert await socket.receive_bytes() == data
        await socket.ping(b"are you there")
        await socket.send_str("leave")
        said = await socket.receive()
        assert (said.type, said.data) == (aiohttp.WSMsgType.CLOSE, 4001)
    await until(lambda: rooms[arm].closed == [1000])  # what the client said to that
    await until(lambda: not world.worker.shared.tunnels and not world.worker.clients)
    assert world.fates() == {"upgraded": 1}


async def test_the_client_closes(world: World, rooms: dict[str, Room]) -> None:
    world.use()
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(f"http://127.0.0.1:{world.port}/refunds/live")
        await socket.send_str("short")
        assert await socket.receive_str() == "legacy: short"
        await socket.close(code=1000)
    await until(lambda: rooms["legacy"].closed == [1000])
    await until(lambda: not world.worker.shared.tunnels and not world.worker.clients)
