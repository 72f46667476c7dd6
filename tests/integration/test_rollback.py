"""Traffic is taken from the agent by evidence: for which faults, how soon, and for which not. The whole system runs.

Arms fail by patterns and not by chance. No time is asserted finer than twice its goal; where a rule is quick by its
requests, requests are counted.
"""

import asyncio
from typing import Final

import pytest

from proxy.model.measures import USER_BAD_PER_MINUTE
from tests.integration.control_world import Crossfade, Stage
from tests.integration.traffic import Arm, Traffic, degraded, every, never, now, one_in_the_canary, visit

SWAPPED: Final = 1.0
"""Goal: seconds from the death of an agent at 50 requests/s to the swap of the worker that notices. All others follow
within as much again."""
FIFTH: Final = 100
"""Agent's requests, in the median, until a fault in a fifth of them is found (STATISTICS: 2 s at 50 requests/s)."""
USUAL: Final = 300
"""Requests before anything goes wrong: enough that legacy's usual error rate is known."""
ONLY_SERVED: Final = ("salt: s", "salt: s\n      shadow: {percent: 0}")
"""No copies: the agent's requests are those that it serves."""


@pytest.fixture
def human(scene: Stage) -> Arm:
    return Arm(scene.human)


@pytest.fixture
def agent(scene: Stage) -> Arm:
    return Arm(scene.agent)


async def in_canary(crossfade: Crossfade) -> Traffic:
    """The system runs, legacy is known, and the agent serves half of the users."""
    await crossfade.start()
    traffic = Traffic(crossfade)
    await traffic.burst(USUAL)
    await crossfade.verb("promote")
    await crossfade.until(lambda route: route["weight"] == 50.0 and route["totals"]["legacy"]["requests"] == 0)
    return traffic


# Rolled back


async def test_a_killed_agent_is_left_by_all_workers_in_time_and_no_user_notices(
    scene: Stage, crossfade: Crossfade, human: Arm, agent: Arm
) -> None:
    scene.write(ONLY_SERVED, ("listen:", "workers: 2\nlisten:"))
    traffic = await in_canary(crossfade)
    async with traffic.flowing(per_second=100, at_most=1_500):
        await traffic.more(50)
        died = now()
        await agent.die()
        route = await crossfade.until(degraded)
        await traffic.more(200)
    last_tries = {asked.worker: asked.at for asked in human.asked if asked.mode == "fallback"}
    assert len(last_tries) == 2  # each worker had users for the agent
    assert min(last_tries.values()) < died + 2 * SWAPPED
    assert max(last_tries.values()) < died + 4 * SWAPPED
    assert traffic.failed == []
    assert route["weight"] == 0.0
    assert any(word in route["reason"] for word in ("breaker", "error_rate"))  # whichever is first


async def test_an_agent_that_fails_a_fifth_is_rolled_back_with_its_reason_and_no_user_notices(
    scene: Stage, crossfade: Crossfade, agent: Arm
) -> None:
    scene.write(ONLY_SERVED)
    traffic = await in_canary(crossfade)
    async with traffic.flowing(per_second=100, at_most=1_500):
        await traffic.more(50)
        agent.fails(every(5))
        broke = now()
        route = await crossfade.until(degraded)
        await traffic.more(50)
    assert len(agent.modes(after=broke)) <= 3 * FIFTH
    assert traffic.failed == []
    assert route["reason"].startswith("error_rate")
    assert any(letter.isdigit() for letter in route["reason"])
    moved, *_ = await crossfade.history()
    assert (moved["kind"], moved["reason"], moved["after"]["phase"]) == ("rollback", route["reason"], "degraded")
    assert await crossfade.metric('crossfade_rollbacks_total{reason="error_rate",route="refunds"}') == 1.0


async def test_a_slow_agent_is_rolled_back(scene: Stage, crossfade: Crossfade, agent: Arm) -> None:
    scene.write(ONLY_SERVED, ("salt: s", "salt: s\n      guard: {latency: {slower_than: 200ms}}"))
    traffic = await in_canary(crossfade)
    async with traffic.flowing(per_second=100, at_most=1_500):
        await traffic.more(50)
        agent.delay = 0.4
        slowed = now()
        route = await crossfade.until(degraded)
    assert len(agent.modes(after=slowed)) <= 3 * FIFTH
    assert route["reason"].startswith("latency")
    assert traffic.failed == []


# Not rolled back


async def test_a_fault_in_a_fifth_of_both_arms_is_not_blamed_on_the_agent(
    scene: Stage, crossfade: Crossfade, human: Arm, agent: Arm
) -> None:
    scene.write(ONLY_SERVED)
    traffic = await in_canary(crossfade)
    human.fails(every(5))
    agent.fails(every(5))
    await traffic.burst(1_200)
    async with traffic.flowing(per_second=100, at_most=300):
        await traffic.more(200)
    await still_in_canary(crossfade)


async def test_an_outage_that_both_arms_share_is_not_blamed_on_the_agent_even_where_it_fails_faster(
    scene: Stage, crossfade: Crossfade, human: Arm, agent: Arm
) -> None:
    scene.write(ONLY_SERVED, (f':{scene.human.port}"', f':{scene.human.port}", timeouts: {{response: 1s}}'))
    traffic = await in_canary(crossfade)
    async with traffic.flowing(per_second=100, at_most=1_500):
        await traffic.more(50)
        human.fails(every(1))
        agent.fails(every(1))
        await asyncio.sleep(1.5)  # how long the outage lasts
        human.fails(never)
        agent.fails(never)
        await traffic.more(100)
        human.hangs(every(1))  # it waits for what is away until we give it up
        agent.fails(every(1))  # it notices at once
        await asyncio.sleep(2.0)
        human.fails(never)
        agent.fails(never)
        await traffic.more(250)
    assert {each.status for each in traffic.failed} == {500, 504}
    await still_in_canary(crossfade)


async def test_one_user_who_meets_a_bug_again_and_again_does_not_roll_back_everybody(
    scene: Stage, crossfade: Crossfade, agent: Arm
) -> None:
    scene.write(ONLY_SERVED)
    traffic = await in_canary(crossfade)
    user = await one_in_the_canary(crossfade)
    agent.fails(lambda _number, asked: asked.user == user)
    async with traffic.flowing(per_second=100, at_most=500):
        for _ in range(100):
            assert (await visit(crossfade, user)).status == 200
        await traffic.more(100)
    capped = await crossfade.metric('crossfade_outcomes_capped_total{arm="agent",route="refunds"}')
    assert capped is not None
    assert capped >= 100 - 2 * USER_BAD_PER_MINUTE  # a minute may have ended meanwhile
    await still_in_canary(crossfade)


async def still_in_canary(crossfade: Crossfade) -> None:
    route = await crossfade.route()
    assert (route["phase"], route["stage"], route["weight"]) == ("progressing", "canary", 50.0), route["reason"]
    assert [event["kind"] for event in await crossfade.history()] == ["promote", "begin"]
    assert (await crossfade.ask(await one_in_the_canary(crossfade)))[1] == "agent"
