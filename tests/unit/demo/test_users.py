"""The users against a stand-in for the gateway: the human service with the header that says who answered."""

import json

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from pytest_aiohttp.plugin import AiohttpServer

from proxy.demo.human import human
from proxy.demo.users import Users, read_decision

GOOD = {"id": "r1", "decision": "approved", "amount": 5.0, "why": "", "decided_by": "human"}


async def test_every_request_is_answered_and_every_answer_kept(aiohttp_server: AiohttpServer) -> None:
    server = await aiohttp_server(_with_arm(human(1)))
    users = Users(str(server.make_url("/refunds")), rate=400, seed=1, population=20, limit=60)

    await users.run()

    assert (users.sent, len(users.answers), users.failed, users.statuses) == (60, 60, 0, {200: 60})
    assert {answer.arm for answer in users.answers} == {"legacy"}
    assert len({answer.user for answer in users.answers}) == 20


async def test_a_failed_answer_is_counted_and_told(aiohttp_server: AiohttpServer) -> None:
    async def broken(_request: web.Request) -> web.Response:
        return web.Response(status=502, text="nobody there", headers={"x-crossfade-arm": "legacy"})

    app = web.Application()
    app.router.add_post("/refunds", broken)
    server = await aiohttp_server(app)
    users = Users(str(server.make_url("/refunds")), rate=400, seed=1, limit=30)

    await users.run()

    assert (users.failed, users.statuses, len(users.failures)) == (30, {502: 30}, 20)
    assert users.failures[0].endswith("status 502: nobody there")


async def test_no_answer_at_all_is_a_failed_answer(unused_tcp_port: int) -> None:
    users = Users(f"http://127.0.0.1:{unused_tcp_port}/refunds", rate=400, seed=1, limit=3)

    await users.run()

    assert (users.failed, users.statuses) == (3, {0: 3})


@pytest.mark.parametrize(
    ("status", "arm", "answer", "problem"),
    [
        (503, "legacy", GOOD, "status 503"),
        (200, "", GOOD, "x-crossfade-arm is ''"),
        (200, "agent", {**GOOD, "id": "r2"}, "a decision for r2"),
        (200, "agent", {**GOOD, "decision": "maybe"}, "no decision: "),
        (200, "agent", {**GOOD, "decision": "needs_review"}, "an escalation reached the user"),
    ],
)
def test_what_is_no_good_answer(status: int, arm: str, answer: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_decision("r1", status, arm, json.dumps(answer))


def test_a_good_answer() -> None:
    assert read_decision("r1", 200, "agent", json.dumps(GOOD)).decision == "approved"


def _with_arm(app: web.Application) -> web.Application:
    @web.middleware
    async def arm(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        response.headers["x-crossfade-arm"] = "legacy"
        return response

    app.middlewares.append(arm)
    return app
