"""The shadow: it sees everything and can do nothing to the answer; each request has exactly one fate."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from proxy.gateway import upstream
from proxy.model.snapshot import BUCKETS, EscalateSpec
from proxy.telemetry.tasks import spawn
from tests.integration.gateway.conftest import RECORD_ALL, SHADOW_ALL, World, until
from tests.integration.gateway.peers import Message, answer


async def test_the_copy_is_the_request_in_shadow_mode(world: World) -> None:
    world.use(shadow=SHADOW_ALL)
    said = await world.ask("POST", "/refunds/1?a=b", b'{"id": 1}', X_User_Id="u", X_Kept="1")
    assert said["x-crossfade-arm"] == "legacy"
    [copy] = await world.agent.wait_for(1)
    [served] = world.human.seen
    assert (copy.start, copy.body, copy["x-crossfade-mode"]) == (served.start, served.body, "shadow")
    same = ("x-request-id", "traceparent", "x-user-id", "x-kept", "x-forwarded-for", "host")
    assert [copy[name] for name in same] == [served[name] for name in same]
    await until(lambda: world.fates() == {"mirrored": 1})


async def test_both_arms_are_recorded_side_by_side(world: World) -> None:
    world.use(shadow=SHADOW_ALL, record=RECORD_ALL)
    world.human.answers = lambda _: answer(b'{"decision": "yes"}', 200, "Content-Type: application/json")
    world.agent.answers = lambda _: answer(b'{"decision": "no"}', 201, "Set-Cookie: secret=1")
    said = await world.ask("POST", "/refunds?token=t", b'{"id": 1}', X_User_Id="u", Authorization="Bearer s")
    [record] = await world.records(1)
    assert record.legacy is not None
    assert record.agent is not None
    assert (record.legacy.status, record.legacy.body) == (200, b'{"decision": "yes"}')
    assert (record.agent.status, record.agent.body) == (201, b'{"decision": "no"}')
    assert record.legacy.headers == (("content-type", "application/json"),)
    assert (record.agent.headers, record.headers) == ((), ())
    assert (record.arm, record.mode, record.fate, record.reason) == ("legacy", "legacy", "mirrored", "bucket_out")
    assert (record.method, record.target, record.body) == ("POST", "/refunds", b'{"id": 1}')
    assert record.request_id == said["x-request-id"]
    assert len(record.key_hash) == 32
    assert "u" not in record.key_hash


async def test_a_copy_that_the_agent_would_hand_on_is_recorded_as_an_escalation(world: World) -> None:
    world.use(
        shadow=SHADOW_ALL,
        record=RECORD_ALL,
        escalate=EscalateSpec(confidence_path="$.confidence", confidence_below=0.6),
    )
    world.agent.answers = lambda seen: (
        answer(b"{}", 200, "X-Crossfade-Escalate: unclear") if seen.body == b"1" else answer(b'{"confidence": 0.5}')
    )
    for body in (b"1", b"2"):
        assert (await world.ask(body=body, X_User_Id="u"))["x-crossfade-arm"] == "legacy"
    records = await world.records(2)
    assert [record.agent.error for record in records if record.agent] == ["escalation", "escalation"]
    assert [record.fate for record in records] == ["mirrored", "mirrored"]
    assert world.outcomes()[("refunds", "v1", "shadow", "1", "agent", "ok")] == 2
    assert world.counts("fallbacks_total") == {}


async def hang(_: Message) -> bytes:
    await asyncio.sleep(60)
    return b""


def garbage(_: Message) -> bytes:
    return b"\x00\x01 not http\r\n\r\n"


def huge(_: Message) -> bytes:
    return answer(b"x" * 5_000_000)


def failing(_: Message) -> bytes:
    return answer(b"", 500)


@pytest.mark.parametrize(
    ("behaviour", "fate"),
    [(hang, "timed_out"), (garbage, "failed"), (huge, "mirrored"), (failing, "mirrored"), (None, "failed")],
    ids=["hung", "garbage", "huge", "failing", "down"],
)
async def test_whatever_the_agent_does_the_answer_is_legacys(world: World, behaviour: object, fate: str) -> None:
    world.use(shadow=replace(SHADOW_ALL, timeout=0.2), record=RECORD_ALL)
    if behaviour is None:
        await world.agent.stop()
    else:
        world.agent.answers = behaviour  # type: ignore[assignment]
    world.human.answers = lambda seen: answer(seen.body)
    async with world.client() as client:
        for number in range(10):
            said = await client.ask(body=b"%d" % number, X_User_Id="u")
            assert (said.status, said.body) == (200, b"%d" % number)
    await until(lambda: world.fates() == {fate: 10})
    assert world.told.trips == []
    records = await world.records(10)
    assert all(record.agent is not None and record.fate == fate for record in records)
    if behaviour is huge:
        assert all(
            record.agent.truncated and len(record.agent.body or b"") == 65536 for record in records if record.agent
        )
    pending = world.worker.shared.table.rollouts()[0][1].pending
    assert (len(pending.copies), pending.bytes) == (0, 0)


async def test_the_answer_does_not_wait_for_a_slow_copy(world: World) -> None:
    world.use(shadow=SHADOW_ALL)
    go = asyncio.Event()

    async def slow(_: Message) -> bytes:
        await go.wait()
        return answer()

    world.agent.answers = slow
    assert (await world.ask(X_User_Id="u")).status == 200
    assert world.fates() == {}
    go.set()
    await until(lambda: world.fates() == {"mirrored": 1})


async def test_copies_past_max_pending_are_dropped(world: World) -> None:
    world.use(shadow=replace(SHADOW_ALL, max_pending=3, timeout=0.2))
    world.agent.answers = hang
    async with world.client() as client:
        for _ in range(5):
            assert (await client.ask(X_User_Id="u")).status == 200
    await until(lambda: world.fates() == {"dropped": 2, "timed_out": 3})


async def test_copies_past_max_pending_bytes_are_dropped(world: World) -> None:
    world.use(shadow=replace(SHADOW_ALL, max_pending_bytes=2500, timeout=0.2))
    world.agent.answers = hang
    for _ in range(4):
        assert (await world.ask(body=b"x" * 1000, X_User_Id="u")).status == 200
    await until(lambda: world.fates() == {"dropped": 2, "timed_out": 2})


async def test_a_body_over_max_body_is_not_copied(world: World) -> None:
    world.use(shadow=replace(SHADOW_ALL, max_body=1000))
    assert (await world.ask(body=b"x" * 1001)).status == 200
    async with world.client() as client:
        client.send(b"POST /refunds HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            client.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        client.send(b"0\r\n\r\n")
        assert (await client.read()).status == 200
    assert world.fates() == {"oversized": 2}
    assert world.agent.seen == []


async def test_a_sample_is_as_large_as_it_should_be(world: World) -> None:
    world.use(shadow=replace(SHADOW_ALL, share=BUCKETS // 4))
    async with world.client() as client:
        for _ in range(100):
            await client.ask(X_User_Id="u")
    await until(lambda: sum(world.fates().values()) == 100)
    assert abs(world.fates()["mirrored"] - 25) <= 3


async def test_each_request_has_one_fate_in_every_stage(world: World) -> None:
    world.use(shadow=replace(SHADOW_ALL, max_pending=2, timeout=0.2), weight=50_000)
    async with world.client() as client:
        for number in range(100):
            assert (await client.ask(X_User_Id=f"user-{number}")).status == 200
    await until(lambda: sum(world.fates().values()) == 100)
    served = sum(count for labels, count in world.counts("requests_total").items() if labels[2] != "shadow")
    assert served == 100


async def test_a_streamed_body_is_copied_when_it_is_whole(world: World) -> None:
    world.use(shadow=SHADOW_ALL)
    body = b"x" * 400_000
    async with world.client() as client:
        client.send(b"POST /refunds HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\nContent-Length: %d\r\n\r\n" % len(body))
        client.send(body[:200_000])
        await asyncio.sleep(0.05)
        assert world.agent.seen == []
        client.send(body[200_000:])
        assert (await client.read()).status == 200
    [copy] = await world.agent.wait_for(1)
    assert copy.body == body


async def test_a_client_that_leaves_in_its_body_leaves_one_fate(world: World) -> None:
    world.use(shadow=SHADOW_ALL)
    async with world.client() as client:
        client.send(b"POST /refunds HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n" + b"x" * 1000)
        await until(lambda: world.worker.shared.inflight == 1)
    await until(lambda: world.fates() == {"dropped": 1})


async def test_a_dead_agent_is_not_dialled_for_every_copy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[str] = []

    def count(coroutine: Any, name: str) -> Any:
        dialled.append(name)
        return spawn(coroutine, name)

    monkeypatch.setattr(upstream, "spawn", count)
    world.use(shadow=SHADOW_ALL)
    await world.agent.stop()
    async with world.client() as client:
        for _ in range(50):
            await client.ask(X_User_Id="u")
    await until(lambda: world.fates() == {"failed": 50})
    assert 1 <= dialled.count("dial agent") <= 10


async def test_copies_go_on_when_the_agent_is_back(world: World) -> None:
    world.use(shadow=SHADOW_ALL)
    port = world.agent.port
    await world.agent.stop()
    await world.ask(X_User_Id="u")
    await until(lambda: world.fates() == {"failed": 1})
    world.agent.port = port
    await world.agent.start()

    async def mirrored() -> bool:
        await world.ask(X_User_Id="u")
        return world.fates().get("mirrored", 0) > 0

    async with asyncio.timeout(5):
        while not await mirrored():
            await asyncio.sleep(0.02)
