"""A human who answers 202 and decides later, before the whole system: the rollout moves by what was decided."""

import asyncio
import json
from typing import Any

import pytest

from tests.integration.control_world import Crossfade, Stage
from tests.integration.gateway.peers import Message, answer

CASES = 40
PENDING = """\
compare: {decision: $.decision}
      pending: {callback: {path_prefix: /plain/decisions}}
      record: {redact: [email]}
      gates: {min_samples: 30, agreement: 50%}"""


@pytest.fixture
def late(scene: Stage) -> Stage:
    """The human's answers name a case each, of the request's own id."""

    def answers(request: Message) -> bytes:
        if "/refunds" not in request.start:
            return answer(b"{}")
        return answer(json.dumps({"case_id": f"case-{request['x-user']}"}).encode(), 202)

    scene.human.answers = answers
    scene.write(
        ("compare: {decision: $.decision}", PENDING),
        ("soak: 1h}\n        - {name: canary", "soak: 1s}\n        - {name: canary"),
    )
    return scene


async def tell(crossfade: Crossfade, cases: range, decision: str = "approve") -> None:
    outcomes = [
        {"route": "refunds", "case": f"case-u{n}", "decision": decision, "decided_at": "2026-01-01T00:00:00Z"}
        for n in cases
    ]
    async with crossfade.session.post(crossfade.admin + "/api/v1/outcomes", json={"outcomes": outcomes}) as response:
        assert (response.status, await response.json()) == (200, {"accepted": len(cases), "rejected": []})


def agreed(pairs: int) -> Any:
    """So many have matched; or the stage has been left for it, whose evidence is no longer the route's."""
    return lambda route: route["agreement"]["matched"] == pairs or route["stage"] != "shadow"


async def soaks(crossfade: Crossfade) -> None:
    """A stage holds only while the agent has requests, whose human may decide when he likes."""
    for number in range(1_000):
        if (await crossfade.route())["stage"] == "canary":
            return
        await crossfade.ask(f"later{number}")
        await asyncio.sleep(0.1)
    raise AssertionError("it stays in shadow")


async def test_a_rollout_in_shadow_advances_when_its_human_has_decided(late: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    assert {status for status, _ in await crossfade.ask_many(CASES)} == {202}
    route = await crossfade.until(lambda route: route["totals"]["agent"]["requests"] == CASES)
    assert (route["stage"], route["agreement"]["matched"]) == ("shadow", 0)
    await tell(crossfade, range(20))
    route = await crossfade.until(agreed(20))
    assert (route["stage"], "min_samples" in route["waits_for"]) == ("shadow", True)
    # The rest is decided while it passes through.
    for n in range(20, CASES):
        body = {"case_id": f"case-u{n}", "decision": "approve"}
        async with crossfade.session.post(crossfade.users + "/plain/decisions/1", json=body) as response:
            assert response.status == 200
    await crossfade.until(agreed(CASES))
    decided = [pair["id"] for pair in await crossfade.pairs() if pair["verdict"] == "matched"]
    assert len(decided) == CASES
    await soaks(crossfade)
    assert await crossfade.metric('crossfade_late_outcomes_total{result="matched",route="refunds"}') == CASES
    assert "case-u" not in json.dumps(crossfade.log)


async def test_what_was_accepted_is_joined_although_the_control_process_was_killed(
    late: Stage, crossfade: Crossfade
) -> None:
    await crossfade.start()
    await crossfade.ask_many(CASES)
    await crossfade.until(lambda route: route["totals"]["agent"]["requests"] == CASES)
    await tell(crossfade, range(CASES))
    crossfade.kill("control")
    await crossfade.until(agreed(CASES))
    await soaks(crossfade)
    assert len([pair for pair in await crossfade.pairs() if pair["verdict"] == "matched"]) == CASES
