"""Decisions that pass through the gateway are read in passing, and go on as they are."""

import pytest

from proxy.model.snapshot import CallbackSpec
from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.peers import answer

DECIDED = b'{"case_id": "c-1", "decision": "approve"}'


def listening(world: World, max_body: int = 1000) -> World:
    world.beside = {"callbacks": (CallbackSpec("refunds", "/plain/decisions", max_body=max_body),)}
    world.use()
    return world


def results(world: World) -> dict[str, int]:
    return {labels[1]: count for labels, count in world.counts("callbacks_total").items()}


async def test_a_decision_is_read_and_goes_on_as_it_is(world: World) -> None:
    listening(world)
    said = await world.ask("POST", "/plain/decisions/1", DECIDED, X_Request_Id="r-1")
    assert said.status == 200
    assert [seen.body for seen in world.human.seen] == [DECIDED]
    await until(lambda: results(world) == {"read": 1})
    [callback] = world.told.callbacks
    assert (callback.route, callback.request_id, callback.body) == ("refunds", "r-1", DECIDED)


async def test_one_in_pieces_is_whole_when_it_is_read(world: World) -> None:
    listening(world)
    async with world.client() as client:
        client.send(b"POST /plain/decisions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (DECIDED[:10], DECIDED[10:]):
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        assert (await client.read()).status == 200
    await until(lambda: results(world) == {"read": 1})
    assert [callback.body for callback in world.told.callbacks] == [DECIDED]


async def test_what_nobody_took_is_no_decision(world: World) -> None:
    listening(world)
    world.human.answers = lambda _: answer(b"", 503)
    await world.ask("POST", "/plain/decisions", DECIDED)
    await world.human.stop()
    await world.ask("POST", "/plain/decisions", DECIDED)
    await until(lambda: results(world) == {"refused": 2})
    assert world.told.callbacks == []


async def test_a_body_over_the_bound_goes_on_unread(world: World) -> None:
    listening(world, max_body=40)
    await world.ask("POST", "/plain/decisions", DECIDED)
    await until(lambda: results(world) == {"too_large": 1})
    assert [seen.body for seen in world.human.seen] == [DECIDED]


@pytest.mark.parametrize("path", ["/plain/decisions", "/refunds/decisions"])
async def test_a_body_is_read_up_to_the_bound_however_large_that_is(world: World, path: str) -> None:
    world.beside = {"callbacks": (CallbackSpec("refunds", path, max_body=300_000),)}
    world.use()
    large = b'{"case_id": "c-1", "decision": "approve", "note": "%b"}' % (b"x" * 250_000)
    assert (await world.ask("POST", path, large)).status == 200
    await until(lambda: results(world) == {"read": 1})
    assert [callback.body for callback in world.told.callbacks] == [large]


async def test_other_paths_are_not_read(world: World) -> None:
    listening(world)
    for path in ("/plain/decisionsx", "/plain", "/refunds/decisions"):
        await world.ask("POST", path, DECIDED)
    assert results(world) == {}


async def test_a_callback_on_the_rollouts_own_route_is_read_whoever_serves_it(world: World) -> None:
    world.beside = {"callbacks": (CallbackSpec("refunds", "/refunds/decisions"),)}
    world.use(weight=100_000)
    assert (await world.ask("POST", "/refunds/decisions", DECIDED, X_User_Id="u"))["x-crossfade-arm"] == "agent"
    await until(lambda: results(world) == {"read": 1})
