"""From a request that the agent cannot complete to the page and the queue: the whole of Crossfade, run as it is run."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest

from tests.integration.control_world import Crossfade, Stage
from tests.integration.escalation_world import HumanQueue, until
from tests.integration.gateway.peers import answer

SECRET = "0123456789abcdef"
SERVES_ALL = "stages:\n        - {name: full, weight: 100}"


@pytest.fixture
async def queue() -> AsyncIterator[HumanQueue]:
    queue = HumanQueue()
    await queue.start()
    yield queue
    await queue.stop()


def configure(scene: Stage, queue: HumanQueue) -> None:
    head, _ = scene.text.split("      stages:")
    admin = scene.text.split('admin: {address: "')[1].split('"')[0]
    scene.file.write_text(
        f"{head}      {SERVES_ALL}\n"
        f"escalations: {{url: 'http://{admin}', secret: {SECRET}, webhook: {{url: '{queue.url}', timeout: 2s}}}}\n"
    )


async def read(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with session.get(url) as response:
        return response.status, await response.text()


async def found(session: aiohttp.ClientSession, url: str) -> str:
    """The page, as soon as it is there."""
    async with asyncio.timeout(15):
        while True:
            status, text = await read(session, url)
            if status == 200:
                return text
            assert status == 404, text
            await asyncio.sleep(0.05)


async def test_the_human_gets_a_link_a_page_and_a_message(
    scene: Stage, crossfade: Crossfade, queue: HumanQueue
) -> None:
    configure(scene, queue)
    scene.agent.answers = lambda _: answer(b'{"thought": "too hard"}', 200, "x-crossfade-escalate: I do not know this")
    await crossfade.start()
    assert await crossfade.ask("u1") == (200, "legacy")
    (asked,) = [each for each in scene.human.seen if each["x-crossfade-escalation"]]
    link, escalation_id = asked["x-crossfade-escalation-link"], asked["x-crossfade-escalation"]
    assert link
    page = await found(crossfade.session, link)
    assert "Handed over: the agent asked for a human" in page
    assert "I do not know this" in page
    assert "too hard" in page
    await until(lambda: len(queue.came) == 1)
    headers, body = queue.came[0]
    told = orjson.loads(body)
    assert (told["id"], told["reason"], told["detail"]) == (escalation_id, "escalation", "I do not know this")
    assert headers["idempotency-key"] == escalation_id
    assert (await read(crossfade.session, told["link"]))[0] == 200
    assert await crossfade.metric('crossfade_escalations_total{reason="escalation",route="refunds"}') == 1
    assert await crossfade.metric('crossfade_escalation_webhooks_total{result="sent"}') == 1
    assert SECRET not in str(crossfade.log)


async def test_with_the_store_away_nothing_of_it_is_lost(scene: Stage, crossfade: Crossfade, queue: HumanQueue) -> None:
    """The store dies before the request and comes back after it; then control is killed, and the next one tells."""
    configure(scene, queue)
    scene.agent.answers = lambda _: answer(b"{}", 500)
    await queue.stop()
    await crossfade.start()
    crossfade.kill("valkey")
    asked = [await crossfade.ask(f"u{number}") for number in range(5)]
    assert {arm for _, arm in asked} == {"legacy"}
    handed = [each["x-crossfade-escalation"] for each in scene.human.seen if each["x-crossfade-escalation"]]
    assert handed
    link = next(each["x-crossfade-escalation-link"] for each in scene.human.seen if each["x-crossfade-escalation"])
    assert link
    async with asyncio.timeout(20):
        while (await read(crossfade.session, link))[0] != 200:  # 503 while the store is away
            await asyncio.sleep(0.05)
    crossfade.kill("control")
    await queue.start()
    await until(lambda: set(handed) <= set(queue.ids))
    assert set(queue.ids) == set(handed)
