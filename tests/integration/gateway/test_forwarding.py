"""What goes to an upstream, what comes back, and what of either is not passed on."""

import asyncio

import pytest

from tests.integration.gateway.conftest import World
from tests.integration.gateway.peers import answer, read_message, request


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


async def test_hop_by_hop_headers_go_no_further(world: World) -> None:
    world.human.answers = lambda _: answer(
        b"{}", 200, "Connection: X-Secret-Hop", "X-Secret-Hop: 1", "Keep-Alive: timeout=5", "X-Kept: 1"
    )
    said = await world.ask(
        Connection="close, x-hop", X_Hop="1", Keep_Alive="5", Proxy_Authorization="Basic x", TE="gzip", X_Kept="2"
    )
    seen = world.human.seen[0]
    for name in ("connection", "x-hop", "keep-alive", "proxy-authorization", "te"):
        assert seen[name] is None, name
    assert seen["x-kept"] == "2"
    assert (said["x-secret-hop"], said["keep-alive"], said["x-kept"]) == (None, None, "1")


async def test_connection_cannot_nominate_host_away(world: World) -> None:
    await world.ask(Connection="host, content-length", body=b"{}")
    assert (world.human.seen[0]["host"], world.human.seen[0].body) == ("shop.example", b"{}")


async def test_what_only_we_may_say_is_not_believed_of_a_client(world: World) -> None:
    await world.ask(X_Crossfade_Arm="agent", X_Crossfade_Mode="canary", X_Forwarded_For="1.2.3.4", Forwarded="for=1")
    seen = world.human.seen[0]
    assert (seen["x-crossfade-arm"], seen["x-crossfade-mode"], seen["forwarded"]) == (None, "legacy", None)
    assert seen["x-forwarded-for"] == "127.0.0.1"


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


async def test_underscored_names_are_dropped(world: World) -> None:
    async with world.client() as client:
        client.send(b"GET /refunds HTTP/1.1\r\nHost: a\r\nX_User_Id: 1\r\n\r\n")
        assert (await client.read()).status == 200
    assert all("_" not in name for name, _ in world.human.seen[0].headers)


async def test_pooled_connections_are_used_again(world: World) -> None:
    async with world.client() as client:
        for _ in range(5):
            assert (await client.ask()).status == 200
    assert world.human.connections == 1


async def test_a_stale_pooled_connection_is_replaced_unnoticed(world: World) -> None:
    served = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        while (message := await read_message(reader)) is not None:
            world.human.note(message)
            if served == 1 and world.human.connections == 1:
                return  # the second request on the first connection is met by a close
            served += 1
            writer.write(answer())

    world.human.handler = handler
    async with world.client() as client:
        assert (await client.ask("PUT", body=b"one")).status == 200
        assert (await client.ask("PUT", body=b"two")).status == 200
    assert [seen.body for seen in world.human.seen] == [b"one", b"two", b"two"]
    assert world.counts("retries_total") == {("human", "stale"): 1}


async def test_a_fresh_connection_that_closes_is_not_tried_again(world: World) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = await read_message(reader)
        assert message is not None
        world.human.note(message)

    world.human.handler = handler
    said = await world.ask()
    assert (said.status, len(world.human.seen)) == (502, 1)
    assert b'"error":"upstream_reset"' in said.body


async def test_bytes_after_an_answer_go_down_with_their_connection(world: World) -> None:
    world.human.answers = lambda _: answer(b"ok") + answer(b"smuggled")
    async with world.client() as client:
        assert (await client.ask()).body == b"ok"
        assert (await client.ask()).body == b"ok"
    assert world.human.connections == 2


async def test_chunked_answers_are_chunked_anew(world: World) -> None:
    world.human.answers = lambda _: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Trailer: 1\r\n\r\n"
    )
    said = await world.ask()
    assert (said.body, said["transfer-encoding"], said["x-trailer"]) == (b"abcdefg", "chunked", None)


async def test_an_answer_that_ends_with_its_connection_is_whole(world: World) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")

    world.human.handler = handler
    async with world.client() as client:
        said = await client.ask()
        assert (said.body, said["transfer-encoding"]) == (b"until the end", "chunked")
        assert (await client.ask()).status == 200


async def test_an_answer_cut_short_never_looks_whole(world: World) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()

    world.human.handler = handler
    async with world.client() as client:
        client.send(request())
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, AssertionError)):
            await client.read()


@pytest.mark.parametrize(("status", "method"), [(204, "POST"), (304, "GET"), (200, "HEAD")])
async def test_answers_without_a_body_leave_the_connection_usable(world: World, status: int, method: str) -> None:
    head = f"HTTP/1.1 {status} X\r\n" + ("" if status == 204 else "Content-Length: 10\r\n") + "\r\n"
    world.human.answers = lambda _: head.encode()
    async with world.client() as client:
        for _ in range(2):
            client.send(request(method, body=b""))
            said = await client.read(bodiless=True)
            assert (said.status, said["content-length"]) == (status, None if status == 204 else "10")
    assert world.human.connections == 1


async def test_http_1_0_gets_no_chunks_and_is_closed(world: World) -> None:
    world.human.answers = lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with world.client() as client:
        client.send(b"GET /refunds HTTP/1.0\r\nHost: a\r\n\r\n")
        said = await client.read()
        assert (said.body, said["transfer-encoding"], said["connection"]) == (b"abc", None, "close")


async def test_http_1_0_may_keep_its_connection(world: World) -> None:
    async with world.client() as client:
        for _ in range(2):
            client.send(b"GET /refunds HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            assert (await client.read())["connection"] == "keep-alive"


async def test_connection_close_is_honoured(world: World) -> None:
    async with world.client() as client:
        said = await client.ask(Connection="close")
        assert said["connection"] == "close"
        assert await client.closed()


async def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    async def slowest_first(seen: object) -> bytes:
        await asyncio.sleep(0.05 if len(world.human.seen) == 1 else 0)
        return answer(world.human.seen[-1].body)

    world.human.answers = slowest_first
    async with world.client() as client:
        client.send(b"".join(request(body=b"%d" % number) for number in range(20)))
        assert [(await client.read()).body for _ in range(20)] == [b"%d" % number for number in range(20)]
    assert len(world.human.seen) == 20


async def test_a_pipelined_request_behind_one_that_ends_the_connection_is_not_served(world: World) -> None:
    async with world.client() as client:
        client.send(request(body=b"1", Connection="close") + request(body=b"2"))
        assert (await client.read()).status == 200
        assert await client.closed()
    assert [seen.body for seen in world.human.seen] == [b"1"]


async def test_an_upgrade_is_not_offered_and_the_request_served_as_it_is(world: World) -> None:
    async with world.client() as client:
        client.send(b"GET /refunds HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert (await client.read()).status == 200
        assert (await client.ask()).status == 200
    assert world.human.seen[0]["upgrade"] is None


async def test_an_upstream_that_switches_protocols_unasked_is_refused(world: World) -> None:
    world.human.answers = lambda _: b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    assert (await world.ask()).status == 502


@pytest.mark.parametrize(
    "garbage",
    [
        b"SMTP ready\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
    ],
)
async def test_an_answer_that_is_not_http_is_a_bad_gateway(world: World, garbage: bytes) -> None:
    world.human.answers = lambda _: garbage
    said = await world.ask()
    assert said.status == 502
    assert not world.worker.shared.table.upstreams["human"].idle


async def test_a_client_that_half_closes_still_gets_its_answer(world: World) -> None:
    async def slow(_: object) -> bytes:
        await asyncio.sleep(0.05)
        return answer(b"late")

    world.human.answers = slow
    async with world.client() as client:
        client.send(request())
        client.writer.write_eof()
        assert (await client.read()).body == b"late"
        assert await client.closed()


async def test_expect_100_continue_is_answered(world: World) -> None:
    async with world.client() as client:
        client.send(b"POST /refunds HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.read(bodiless=True)).status == 100
        client.send(b"abc")
        assert (await client.read()).status == 200
    assert (world.human.seen[0].body, world.human.seen[0]["expect"]) == (b"abc", None)


async def test_early_hints_are_relayed(world: World) -> None:
    world.human.answers = lambda _: b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + answer(b"ok")
    async with world.client() as client:
        client.send(request())
        hints = await client.read(bodiless=True)
        assert (hints.status, hints["link"]) == (103, "</a.css>")
        assert (await client.read()).body == b"ok"
