"""From a user's request through a worker to an agent with OpenTelemetry, and back: its steps stand on the pair."""

import asyncio
from typing import Any

from tests.integration.agent_world import CARD, exporter, running
from tests.integration.control_world import PATIENCE, Crossfade, Stage


async def shown(crossfade: Crossfade) -> dict[str, Any]:
    """The newest pair by itself, once its agent's last step is there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for pair in await crossfade.pairs():
                async with crossfade.session.get(f"{crossfade.admin}/api/v1/pairs/{pair['id']}") as response:
                    document: dict[str, Any] = await response.json()
                if len(document["steps"]) == 7:
                    return document
            await asyncio.sleep(0.05)


async def test_what_the_agent_did_stands_on_the_pair(scene: Stage, crossfade: Crossfade) -> None:
    admin = scene.text.split('admin: {address: "', 1)[1].partition('"')[0]
    with running(exporter(f"http://{admin}", gzip=True)) as agent:
        scene.write((f"http://127.0.0.1:{scene.agent.port}", f"http://127.0.0.1:{agent.port}"))
        await crossfade.start()
        assert await crossfade.ask() == (200, "legacy")
        pair = await shown(crossfade)
        assert (pair["verdict"], pair["shadow_fate"]) == ("matched", "mirrored")
        assert [step["name"] for step in pair["steps"]][:3] == ["refunder", "chat gpt", "gen_ai.reasoning"]
        assert pair["step_totals"]["tokens"] == {"input": 120, "output": 30}
        assert pair["step_totals"]["writes"] == 1
        line = await crossfade.line("agent_step", kind="tool", name="refund")
        assert (line["route"], line["trace_id"]) == ("refunds", pair["trace_id"])
        assert CARD not in str(pair)
        assert CARD not in str(crossfade.log)
        # A client that speaks in our name in tracestate is not believed, and what else it says goes on.
        before = len(agent.heard)
        headers = {
            "x-user": "u",
            "tracestate": "crossfade=canary:other,vendor=1",
            "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        }
        async with crossfade.session.post(crossfade.users + "/refunds/1", headers=headers, json={}) as response:
            assert response.status == 200
        async with asyncio.timeout(PATIENCE):
            while len(agent.heard) == before:
                await asyncio.sleep(0.01)
        assert agent.heard[-1]["tracestate"] == "crossfade=shadow:refunds,vendor=1"
        async with asyncio.timeout(PATIENCE):
            while (await shown(crossfade))["trace_id"] != "a" * 32:
                await asyncio.sleep(0.05)
        assert await crossfade.stop() == 0
