"""A tester's signed header chooses the arm; what comes of it is no evidence; unsigned ones are removed."""

import time
from dataclasses import replace

import pytest

from proxy.model.snapshot import BUCKETS
from proxy.model.words import Arm
from proxy.routing.override import sign
from tests.integration.gateway.conftest import RECORD_ALL, SHADOW_ALL, World, until
from tests.integration.gateway.peers import answer

SECRET = "a secret of the testers"
SOON = int(time.time()) + 600


def allow(world: World) -> None:
    world.worker.use(replace(world.snapshot(), override_secret=SECRET))


@pytest.mark.parametrize(("weight", "arm"), [(0, Arm.AGENT), (BUCKETS, Arm.LEGACY)])
async def test_a_signed_header_chooses_the_arm(world: World, weight: int, arm: Arm) -> None:
    world.use(weight=weight, shadow=SHADOW_ALL, record=RECORD_ALL)
    allow(world)
    said = await world.ask(X_User_Id="u", X_Crossfade_Arm=sign(SECRET, "refunds", arm, SOON))
    assert said["x-crossfade-arm"] == arm.value
    [seen] = (world.agent if arm is Arm.AGENT else world.human).seen
    assert seen["x-crossfade-arm"] is None
    assert world.counts("overrides_total") == {("accepted",): 1}
    assert world.counts("decisions_total") == {("refunds", "override"): 1}
    assert world.still_open() == 0
    assert not any(count for labels, count in world.counts("outcomes").items() if labels[-1] == "drawn")
    assert world.outcomes() == {}  # nobody drew this user: no evidence for or against an arm
    [record] = await world.records(1)
    assert (record.reason, record.fate) == ("override", "sampled_out")
    assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] != arm.value


async def test_a_tester_can_see_a_broken_agent_without_tripping_its_breaker(world: World) -> None:
    world.use(weight=BUCKETS)
    allow(world)
    world.agent.answers = lambda _: answer(b"", 500)
    for _ in range(20):
        said = await world.ask(X_User_Id="u", X_Crossfade_Arm=sign(SECRET, "refunds", Arm.AGENT, SOON))
        assert (said.status, said["x-crossfade-arm"]) == (200, "legacy")
    assert world.told.trips == []
    assert len(world.agent.seen) == 20


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("agent", "invalid"),
        (sign(SECRET, "other", Arm.AGENT, SOON), "invalid"),
        (sign("another secret, of others", "refunds", Arm.AGENT, SOON), "invalid"),
        (sign(SECRET, "refunds", Arm.AGENT, 1_700_000_000), "expired"),
        (sign(SECRET, "refunds", Arm.AGENT, SOON).replace("agent", "legacy"), "invalid"),
    ],
)
async def test_any_other_is_removed_and_counted(world: World, value: str, result: str) -> None:
    world.use(shadow=SHADOW_ALL)
    allow(world)
    assert (await world.ask(X_User_Id="u", X_Crossfade_Arm=value))["x-crossfade-arm"] == "legacy"
    assert world.counts("overrides_total") == {(result,): 1}
    await until(lambda: world.fates() == {"mirrored": 1})
    assert (world.human.seen[0]["x-crossfade-arm"], world.agent.seen[0]["x-crossfade-arm"]) == (None, None)


async def test_two_of_them_are_none(world: World) -> None:
    world.use()
    allow(world)
    signed = sign(SECRET, "refunds", Arm.AGENT, SOON)
    async with world.client() as client:
        line = f"X-Crossfade-Arm: {signed}\r\n"
        client.send(f"GET /refunds HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\n{line}{line}\r\n".encode())
        assert (await client.read())["x-crossfade-arm"] == "legacy"


async def test_without_a_secret_there_is_no_override(world: World) -> None:
    world.use()
    said = await world.ask(X_User_Id="u", X_Crossfade_Arm=sign("", "refunds", Arm.AGENT, SOON))
    assert said["x-crossfade-arm"] == "legacy"
    assert world.counts("overrides_total") == {}
