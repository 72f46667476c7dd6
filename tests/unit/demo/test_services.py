"""The two services on real sockets."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from proxy.demo.agent import agent
from proxy.demo.human import human
from proxy.demo.refunds import Decision
from proxy.demo.service import MAX_BODY, Latency

REFUND = {"id": "r1", "user": "u1", "amount": 50.0, "reason": "late", "order_age_days": 3}


@pytest.mark.parametrize(("service", "name"), [(human(1), "human"), (agent(1), "agent")], ids=["human", "agent"])
async def test_a_decision_for_the_request(aiohttp_client: AiohttpClient, service: web.Application, name: str) -> None:
    client = await aiohttp_client(service)

    response = await client.post("/refunds", json=REFUND)

    decision = Decision.model_validate_json(await response.text())
    assert (response.status, decision.id, decision.decision, decision.amount) == (200, "r1", "approved", 50.0)
    assert decision.decided_by == name


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({**REFUND, "amount": -1}, "amount: "),
        ({**REFUND, "reason": "boredom"}, "reason: "),
        ({"id": "r1"}, "user: "),
        ("no object", "Input should be an object"),
    ],
)
async def test_a_bad_request_says_what_is_wrong(aiohttp_client: AiohttpClient, body: Any, detail: str) -> None:
    client = await aiohttp_client(human(1))

    response = await client.post("/refunds", json=body)

    assert response.status == 400
    assert (await response.json())["detail"].startswith(detail)


async def test_a_body_over_the_limit_is_refused(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(human(1))

    assert (await client.post("/refunds", data=b" " * (MAX_BODY + 1))).status == 413


async def test_the_human_says_why_it_was_asked_in_the_agents_place(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(human(1))

    response = await client.post("/refunds", json=REFUND, headers={"x-crossfade-escalation-reason": "5xx"})

    assert (await response.json())["handed_over"] == "5xx"


async def test_the_agent_hands_over_what_it_cannot_judge(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(agent(1))

    response = await client.post("/refunds", json={**REFUND, "reason": "other"})

    assert (response.status, response.headers["x-crossfade-escalate"]) == (200, "unclear_reason")
    assert (await response.json())["decision"] == "needs_review"


async def test_the_agent_fails_on_command_and_recovers(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(agent(1))

    await client.post("/_demo/mode", json={"mode": "failing"})
    assert (await client.post("/refunds", json=REFUND)).status == 500

    await client.post("/_demo/mode", json={"mode": "healthy"})
    assert (await client.post("/refunds", json=REFUND)).status == 200


async def test_a_hanging_agent_answers_once_it_is_let_go(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(agent(1))
    await client.post("/_demo/mode", json={"mode": "hanging"})

    hung = asyncio.ensure_future(client.post("/refunds", json=REFUND))  # noqa: TID251  # awaited below
    done, _ = await asyncio.wait({hung}, timeout=0.2)
    assert not done

    await client.post("/_demo/mode", json={"mode": "healthy"})
    assert (await hung).status == 200


async def test_an_unknown_mode_is_refused(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(agent(1))

    response = await client.post("/_demo/mode", json={"mode": "sleepy"})

    assert response.status == 400
    assert "healthy, failing, hanging" in (await response.json())["detail"]


def test_latencies_are_seeded_and_lie_where_they_should() -> None:
    drawn = [latency.draw() for latency in [Latency(0.02, 0.06, 3)] for _ in range(4_000)]

    assert drawn == [latency.draw() for latency in [Latency(0.02, 0.06, 3)] for _ in range(4_000)]
    assert 0.93 < sum(0.02 <= seconds <= 0.06 for seconds in drawn) / 4_000 < 0.97
    assert max(drawn) <= 0.24
