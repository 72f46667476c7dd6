"""What goes to an upstream, what comes back, and what of either is not passed on."""

import asyncio

import orjson

from tests.integration.gateway.conftest import World
from tests.integration.gateway.peers import answer


async def test_a_request_reaches_legacy_and_its_answer_the_client(world: World) -> None:
    world.human.answers = lambda _: answer(b'{"decision": "approved"}', 201, "X-Case: 7")
    said = await world.ask("POST", "/refunds/9?x=1", b'{"id": 1}', X_User_Id="u1", Content_Type="application/json")
    assert (said.status, said.body, said["x-case"], said["x-crossfade-arm"]) == (
        201, b'{"decision": "approved"}', "7", "legacy",
    )  # fmt: skip
    seen = world.human.seen[0]
    assert (seen.start, seen.body, seen["x-user-id"]) == ("POST /refunds/9?x=1 HTTP/1.1", b'{"id": 1}', "u1")
    assert (seen["x-crossfade-mode"], seen["x-crossfade-route"], seen["host"]) == ("legacy", "refunds", "shop.example")
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"], seen["x-forwarded-host"]) == (
        "127.0.0.1", "http", "shop.example",
    )  # fmt: skip
    assert seen["x-request-id"] == said["x-request-id"]


async def test_small_head_and_body_leave_in_one_piece(world: World) -> None:
    pieces: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pieces.append(await reader.read(65536))
        writer.write(answer())
        await reader.read()

    world.human.handler = handler
    await world.ask(body=b'{"id": 1}')
    assert pieces[0].endswith(b'\r\n\r\n{"id": 1}')


async def test_an_upstreams_x_crossfade_headers_do_not_reach_the_client(world: World) -> None:
    world.human.answers = lambda _: answer(b"{}", 200, "X-Crossfade-Arm: agent", "X-Crossfade-Secret: 1")
    said = await world.ask()
    assert [value for name, value in said.headers if name.startswith("x-crossfade")] == ["legacy"]


async def test_a_clients_request_id_and_trace_are_kept_where_they_are_well_formed(world: World) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    said = await world.ask(X_Request_Id="abc-1", traceparent=trace)
    assert (said["x-request-id"], world.human.seen[0]["traceparent"]) == ("abc-1", trace)
    said = await world.ask(X_Request_Id='a"b', traceparent="00-xyz")
    assert said["x-request-id"] != 'a"b'
    assert len(world.human.seen[1]["traceparent"] or "") == 55


async def test_credentials_of_an_upstream_replace_the_clients(world: World) -> None:
    world.extra = {"set_headers": (("authorization", "Bearer ours"),), "remove_headers": ("cookie",)}
    world.use(weight=100_000)
    await world.ask(Authorization="Bearer theirs", Cookie="session=1", X_User_Id="u")
    seen = world.agent.seen[0]
    assert [value for name, value in seen.headers if name == "authorization"] == ["Bearer ours"]
    assert seen["cookie"] is None


async def test_pooled_connections_are_used_again(world: World) -> None:
    async with world.client() as client:
        for _ in range(5):
            assert (await client.ask()).status == 200
    assert world.human.connections == 1


async def test_no_route_is_404(world: World) -> None:
    said = await world.ask("GET", "/refundsx", b"")
    assert (said.status, orjson.loads(said.body)["error"]) == (404, "no_route")
