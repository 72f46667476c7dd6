"""Canary: who is served by the agent; and legacy when the agent cannot."""

import asyncio
from dataclasses import replace
from itertools import count

import pytest

from proxy.model.snapshot import EscalateSpec, KeySource, Retry
from proxy.model.words import Failure, Phase
from proxy.routing.bucket import bucketer
from tests.integration.gateway.conftest import RECORD_ALL, World, until
from tests.integration.gateway.peers import Message, answer, read_message

bucket = bucketer("refunds-1")
USERS = [f"user-{number}" for number in range(300)]


async def served_by_agent(world: World) -> set[str]:
    chosen = set()
    async with world.client() as client:
        for user in USERS:
            said = await client.ask(X_User_Id=user)
            assert said.status == 200
            if said["x-crossfade-arm"] == "agent":
                chosen.add(user)
    return chosen


async def test_users_are_served_by_their_bucket_and_stay_in_as_the_weight_grows(world: World) -> None:
    before: set[str] = set()
    for weight in (5_000, 10_000, 25_000, 50_000, 100_000):
        world.use(weight=weight)
        chosen = await served_by_agent(world)
        assert chosen == {user for user in USERS if bucket(user.encode()) < weight}
        assert before <= chosen
        before = chosen
    assert before == set(USERS)


async def test_a_request_without_a_key_is_legacys(world: World) -> None:
    world.use(weight=100_000)
    assert (await world.ask())["x-crossfade-arm"] == "legacy"
    assert world.counts("decisions_total") == {("refunds", "no_key"): 1}


async def test_keys_are_tried_in_their_order(world: World) -> None:
    world.use(
        weight=100_000, key=(KeySource("header", "x-user-id"), KeySource("cookie", "sid"), KeySource("client_ip"))
    )
    assert (await world.ask(Cookie="a=1; sid=s7"))["x-crossfade-arm"] == "agent"
    assert (await world.ask())["x-crossfade-arm"] == "agent"
    assert world.agent.seen[0]["x-crossfade-mode"] == "canary"
    assert world.agent.seen[0]["cookie"] is None  # it names a user to us, and is no agent's to use


async def hang(_: Message) -> bytes:
    await asyncio.sleep(60)
    return b""


async def fails_with(world: World, failure: Failure) -> None:
    agent = world.agent
    if failure is Failure.CONNECT_FAILURE:
        await agent.stop()
    elif failure is Failure.TIMEOUT:
        agent.answers = hang
    elif failure is Failure.RESET:
        agent.answers = lambda _: b"garbage\r\n\r\n"
    elif failure is Failure.SERVER_ERROR:
        agent.answers = lambda _: answer(b'{"oops": 1}', 503)
    else:
        agent.answers = lambda _: answer(b'{"partial": 1}', 200, "X-Crossfade-Escalate: needs a human")


@pytest.mark.parametrize("failure", [failure for failure in Failure if failure is not Failure.OVERLOAD])
async def test_legacy_answers_when_the_agent_cannot(world: World, failure: Failure) -> None:
    world.agent_timeouts = replace(world.agent_timeouts, response=0.1)
    world.use(weight=100_000, record=RECORD_ALL)
    await fails_with(world, failure)
    world.human.answers = lambda _: answer(b'{"by": "human"}')
    said = await world.ask(body=b'{"id": 7}', X_User_Id="u")
    assert (said.status, said.body, said["x-crossfade-arm"]) == (200, b'{"by": "human"}', "legacy")
    seen = world.human.seen[0]
    assert (seen.body, seen["x-crossfade-mode"]) == (b'{"id": 7}', "fallback")
    [record] = await world.records(1)
    assert record.escalation is not None
    assert seen["x-crossfade-escalation"] == record.escalation[0]
    assert seen["x-crossfade-escalation-reason"] == record.escalation[1]
    assert world.counts("fallbacks_total") == {("refunds", failure.value): 1}
    assert (record.arm, record.mode, record.fate) == ("legacy", "fallback", "sampled_out")
    assert record.agent is not None
    assert record.agent.error == failure.value
    if failure is Failure.ESCALATION:
        assert (record.agent.body, record.escalation[1]) == (b'{"partial": 1}', "needs a human")
    result = "ok" if failure is Failure.ESCALATION else "failed"
    outcomes = world.outcomes()
    assert outcomes[("refunds", "v1", "shadow", "1", "agent", result)] == 1
    assert outcomes[("refunds", "v1", "shadow", "1", "legacy", "ok")] == 0  # who falls back is no control
    assert world.counts("outcomes")[("refunds", "v1", "shadow", "1", "legacy", "fallback")] == 1
    assert world.still_open() == 0


async def test_a_failure_that_is_not_to_fall_back_is_the_clients_to_see(world: World) -> None:
    world.use(weight=100_000, fallback=replace(world.rollout.fallback, on=frozenset({Failure.TIMEOUT})))
    world.agent.answers = lambda _: answer(b"broken", 500)
    said = await world.ask(X_User_Id="u")
    assert (said.status, said.body, said["x-crossfade-arm"]) == (500, b"broken", "agent")


@pytest.mark.parametrize("kind", [None, "application/json; charset=utf-8", "application/vnd.shop+JSON"])
async def test_low_confidence_goes_to_the_human(world: World, kind: str | None) -> None:
    world.use(weight=100_000, escalate=EscalateSpec(confidence_path="$.confidence", confidence_below=0.6))
    headers = [f"Content-Type: {kind}"] if kind else []
    world.agent.answers = lambda seen: answer(b'{"confidence": %s}' % seen.body, 200, *headers)
    assert (await world.ask(body=b"0.9", X_User_Id="u"))["x-crossfade-arm"] == "agent"
    said = await world.ask(body=b"0.5", X_User_Id="u")
    assert said["x-crossfade-arm"] == "legacy"
    assert world.human.seen[0]["x-crossfade-escalation-reason"] == "confidence 0.5"


async def test_a_large_chunked_answer_is_judged_no_more_and_arrives_whole(world: World) -> None:
    world.use(weight=100_000, escalate=EscalateSpec(confidence_path="$.confidence", confidence_below=0.6))
    body = b"x" * 300_000
    world.agent.answers = lambda _: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n493e0\r\n" + body + b"\r\n0\r\n\r\n"
    )
    said = await world.ask(X_User_Id="u")
    assert (said.body, said["x-crossfade-arm"]) == (body, "agent")


async def test_a_body_too_large_to_be_sent_twice_cannot_fall_back(world: World) -> None:
    world.use(weight=100_000, fallback=replace(world.rollout.fallback, max_body=1000))
    world.agent.answers = lambda _: answer(b"", 500)
    assert (await world.ask(body=b"x" * 200_000, X_User_Id="u")).status == 500
    assert world.counts("fallbacks_missed_total") == {("refunds", "body_too_large"): 1}


async def test_an_agent_that_breaks_off_in_its_answer_has_failed(world: World) -> None:
    world.use(weight=100_000)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await writer.drain()

    world.agent.handler = handler
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await world.ask(X_User_Id="u")
    assert world.outcomes() == {("refunds", "v1", "shadow", "1", "agent", "failed"): 1}
    assert world.human.seen == []


async def test_a_retry_comes_before_the_fallback_and_within_its_budget(world: World) -> None:
    world.extra = {"retry": Retry(attempts=1, on=frozenset({"503"}), budget=0.0)}
    world.use(weight=100_000)
    world.agent.answers = lambda _: answer(b"", 503) if len(world.agent.seen) % 2 else answer(b"agent")
    for number in range(10):  # ten retries are saved up from the start, and this budget earns no more
        assert (await world.ask(X_User_Id="u", Idempotency_Key=f"{number}"))["x-crossfade-arm"] == "agent"
    assert (await world.ask(X_User_Id="u", Idempotency_Key="10"))["x-crossfade-arm"] == "legacy"
    assert world.counts("retries_total") == {("agent", "503"): 10}


async def test_the_breaker_swaps_to_legacy_by_itself_and_stays_swapped(world: World) -> None:
    world.use(weight=100_000)
    world.agent.answers = lambda _: answer(b"", 500)
    async with world.client() as client, asyncio.timeout(10):
        for user in count():
            said = await client.ask(X_User_Id=f"{user}")
            assert (said.status, said["x-crossfade-arm"]) == (200, "legacy")
            if world.told.trips:
                break
        seen = len(world.agent.seen)
        for user in range(5):
            assert (await client.ask(X_User_Id=f"{user}"))["x-crossfade-arm"] == "legacy"
    assert len(world.agent.seen) == seen
    [trip] = world.told.trips
    assert (trip.route, trip.version, trip.epoch) == ("refunds", "v1", 1)
    world.use()  # a reload that knows nothing of it
    assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] == "legacy"
    assert world.counts("decisions_total")[("refunds", "breaker")] == 6
    world.agent.answers = lambda _: answer(b"well again")
    world.use(epoch=2)  # the operator said retry
    assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] == "agent"


async def test_one_user_who_repeats_what_fails_does_not_trip_it(world: World) -> None:
    world.use(weight=100_000)
    world.agent.answers = lambda _: answer(b"", 500)
    for _ in range(20):
        assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] == "legacy"
    assert (world.told.trips, len(world.agent.seen)) == ([], 20)
    assert world.outcomes() == {("refunds", "v1", "shadow", "1", "agent", "failed"): 3}
    assert world.counts("outcomes_capped_total") == {("refunds", "agent"): 17}
    assert (await world.ask(X_User_Id="v"))["x-crossfade-arm"] == "legacy"
    assert world.outcomes()[("refunds", "v1", "shadow", "1", "agent", "failed")] == 4


async def test_it_blames_no_agent_for_what_legacy_has_too(world: World) -> None:
    """Half of the users are the agent's, and something that both arms need is broken."""
    world.use(weight=50_000)
    world.agent.answers = world.human.answers = lambda _: answer(b"", 500)
    for user in range(60):
        assert (await world.ask(X_User_Id=f"{user}")).status == 500
    assert world.told.trips == []
    assert len(world.agent.seen) > 16
    world.human.answers = lambda _: answer(b"human")  # legacy is well again, the agent is not
    async with asyncio.timeout(10):
        for user in count(60):
            assert (await world.ask(X_User_Id=f"{user}")).status == 200
            if world.told.trips:
                break


async def test_nobody_else_has_to_come_for_it_to_trip(world: World) -> None:
    world.use(weight=100_000)
    world.agent.answers = lambda _: answer(b"", 500)
    for user in range(12):
        assert (await world.ask(X_User_Id=f"{user}"))["x-crossfade-arm"] == "legacy"
    await until(lambda: world.told.trips)
    assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] == "legacy"
    assert len(world.agent.seen) == 12


async def test_ten_connect_failures_in_a_row_trip_it_too(world: World) -> None:
    world.use(weight=100_000)
    await world.agent.stop()
    for _ in range(11):  # one more, where the tenth came so soon after a dial that the agent was not asked
        assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] == "legacy"
    assert len(world.told.trips) == 1


async def test_an_agent_that_is_back_is_asked_before_it_is_given_up(world: World) -> None:
    """Both arms were down, and legacy, which is asked each time, is up again first: that is no fault of the agent's."""
    world.use(weight=100_000)
    await world.agent.stop()
    world.human.answers = lambda _: answer(b"", 500)
    for user in range(30):
        assert (await world.ask(X_User_Id=f"{user}")).status == 500
    await world.agent.start()
    world.human.answers = lambda _: answer(b"human")
    async with asyncio.timeout(10):
        for user in count(30):
            if (await world.ask(X_User_Id=f"{user}"))["x-crossfade-arm"] == "agent":
                break
    assert world.told.trips == []


async def test_a_degraded_rollout_is_served_by_legacy(world: World) -> None:
    world.use(weight=0, phase=Phase.DEGRADED)
    assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] == "legacy"


async def test_a_request_keeps_the_snapshot_it_started_with(world: World) -> None:
    world.use(weight=100_000)
    go = asyncio.Event()

    async def when_told(_: Message) -> bytes:
        await go.wait()
        return answer(b"agent")

    world.agent.answers = when_told
    asking = asyncio.ensure_future(world.ask(X_User_Id="u"))  # noqa: TID251  # awaited below
    await world.agent.wait_for(1)
    world.use(weight=0, version="v2", epoch=2)
    go.set()
    assert (await asking).body == b"agent"
    assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] == "legacy"
    assert world.outcomes()[("refunds", "v1", "shadow", "1", "agent", "ok")] == 1


async def test_a_client_that_leaves_counts_for_no_arm_and_cancels_its_request(world: World) -> None:
    world.use(weight=100_000)
    ended = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = await read_message(reader)
        assert message is not None
        world.agent.note(message)
        await reader.read()
        ended.set()

    world.agent.handler = handler
    async with world.client() as client:
        client.send(b"POST /refunds HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\nContent-Length: 0\r\n\r\n")
        await world.agent.wait_for(1)
        client.reset()
    async with asyncio.timeout(5):
        await ended.wait()
    await until(lambda: world.counts("client_gone_total") == {("refunds",): 1})
    assert world.outcomes() == {}
    assert world.worker.shared.inflight == 0
