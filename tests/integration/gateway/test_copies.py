"""Copies beside those of the shadow: of what the agent served to legacy, and to the agent once more."""

import asyncio
from dataclasses import replace

from proxy.model.measures import OUTCOMES
from proxy.model.snapshot import BUCKETS, EscalateSpec, RecordSpec
from tests.integration.gateway.conftest import RECORD_ALL, SHADOW_ALL, World, until
from tests.integration.gateway.peers import answer

YES, NO = b'{"decision": "yes"}', b'{"decision": "no"}'


async def test_a_human_judges_a_sample_of_what_the_agent_served(world: World) -> None:
    world.use(weight=BUCKETS, audit=BUCKETS // 2, record=RECORD_ALL)
    world.human.answers = lambda _: answer(NO)
    world.agent.answers = lambda _: answer(YES)
    for _ in range(4):
        said = await world.ask("POST", "/refunds", b'{"id": 1}', X_User_Id="u")
        assert (said.body, said["x-crossfade-arm"]) == (YES, "agent")
    records = await world.records(4)
    assert [copy["x-crossfade-mode"] for copy in world.human.seen] == ["shadow"] * 2
    assert world.human.seen[0].body == b'{"id": 1}'
    audited = [record for record in records if record.legacy is not None]
    assert [record.legacy.body for record in audited if record.legacy] == [NO, NO]
    assert {record.fate for record in audited} == {"mirrored"}
    assert {(record.arm, record.mode) for record in records} == {("agent", "canary")}
    assert world.fates() == {"mirrored": 2, "sampled_out": 2}


async def test_an_audit_is_no_evidence_of_what_legacy_does_by_itself(world: World) -> None:
    world.use(weight=BUCKETS, audit=BUCKETS, record=RECORD_ALL)
    world.human.answers = lambda _: answer(b"", 500)
    await world.ask(X_User_Id="u")
    await world.records(1)
    assert {labels[4] for labels in world.counts(OUTCOMES.name)} == {"agent"}
    assert world.counts("requests_total")[("refunds", "legacy", "shadow", "500")] == 1


async def test_the_answer_does_not_wait_for_the_human(world: World) -> None:
    decided = asyncio.Event()

    async def slowly(_: object) -> bytes:
        await decided.wait()
        return answer(NO)

    world.use(weight=BUCKETS, audit=BUCKETS, record=RECORD_ALL)
    world.human.answers = slowly
    assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] == "agent"
    decided.set()
    [record] = await world.records(1)
    assert record.legacy is not None
    assert record.legacy.body == NO


async def test_who_has_to_take_over_is_not_asked_twice(world: World) -> None:
    world.use(weight=BUCKETS, audit=BUCKETS, record=RECORD_ALL)
    world.agent.answers = lambda _: answer(b"", 500)
    assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] == "legacy"
    [record] = await world.records(1)
    assert [served["x-crossfade-mode"] for served in world.human.seen] == ["fallback"]
    assert record.fate == "sampled_out"
    assert world.fates() == {"sampled_out": 1}


async def test_what_is_not_recorded_is_not_audited(world: World) -> None:
    world.use(weight=BUCKETS, audit=BUCKETS, record=RecordSpec(share=0))
    await world.ask(X_User_Id="u")
    await until(lambda: world.fates() == {"sampled_out": 1})
    assert world.human.seen == []


async def test_a_client_that_leaves_before_the_agents_answer_is_audited_by_nobody(world: World) -> None:
    gone = asyncio.Event()

    async def never(_: object) -> bytes:
        await gone.wait()
        return answer(YES)

    world.use(weight=BUCKETS, audit=BUCKETS, record=RECORD_ALL)
    world.agent.answers = never
    async with world.client() as client:
        client.send(b"POST /refunds HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\nContent-Length: 0\r\n\r\n")
        await world.agent.wait_for(1)
        client.reset()
    await until(lambda: world.fates() == {"dropped": 1})
    gone.set()
    assert world.human.seen == []


async def test_the_agent_is_asked_a_sample_once_more(world: World) -> None:
    world.use(shadow=replace(SHADOW_ALL, repeat=BUCKETS // 2), record=RECORD_ALL)
    world.human.answers = lambda _: answer(YES)
    world.agent.answers = lambda seen: answer(NO if seen["x-crossfade-repeat"] else YES)
    for _ in range(4):
        await world.ask("POST", "/refunds", b'{"id": 1}', X_User_Id="u")
        await until(lambda: not world.worker.shared.table.pendings()[0].copies)
    records = await world.records(4)
    again = [record for record in records if record.repeat is not None]
    assert [(record.agent.body, record.repeat.body) for record in again if record.agent and record.repeat] == [
        (YES, NO)
    ] * 2
    repeats = [seen for seen in world.agent.seen if seen["x-crossfade-repeat"]]
    assert [(seen["x-crossfade-mode"], seen.body) for seen in repeats] == [("shadow", b'{"id": 1}')] * 2
    assert (repeats[0]["tracestate"] or "") == "crossfade=repeat:refunds"
    assert world.fates() == {"mirrored": 4}, "each request has one fate"
    asked = [labels for labels, count in world.counts(OUTCOMES.name).items() if labels[4] == "agent" and count]
    assert sum(world.counts(OUTCOMES.name)[labels] for labels in asked if labels[5] == "ok") == 4


async def test_a_failed_copy_is_not_repeated(world: World) -> None:
    world.use(shadow=replace(SHADOW_ALL, repeat=BUCKETS), record=RECORD_ALL)
    world.agent.answers = lambda _: answer(b"", 500)
    await world.ask(X_User_Id="u")
    [record] = await world.records(1)
    assert record.repeat is None
    assert len(world.agent.seen) == 1


async def test_copies_carry_credentials_of_their_own(world: World) -> None:
    world.extra = {"set_headers": (("authorization", "Bearer acts"), ("x-tenant", "7"))}
    world.use(
        weight=50_000,
        shadow=replace(SHADOW_ALL, set_headers=(("authorization", "Bearer only looks"), ("x-look", "1"))),
        escalate=EscalateSpec(),
    )
    sent = {"Authorization": "Bearer of the user", "Cookie": "session=1", "X-Look": "0"}
    for user in range(16):
        await world.ask("POST", "/refunds", b"{}", X_User_Id=str(user), **sent)
    await until(lambda: len(world.agent.seen) == 16)
    by_mode = {seen["x-crossfade-mode"]: seen for seen in world.agent.seen}
    assert (by_mode["shadow"]["authorization"], by_mode["shadow"]["x-tenant"]) == ("Bearer only looks", "7")
    assert [value for name, value in by_mode["shadow"].headers if name == "x-look"] == ["1"]
    assert (by_mode["canary"]["authorization"], by_mode["canary"]["x-look"]) == ("Bearer acts", "0")
    assert [seen["cookie"] for seen in by_mode.values()] == [None, None]


async def test_an_agent_is_told_its_mode_by_what_tracing_carries_on(world: World) -> None:
    world.use(shadow=SHADOW_ALL)
    await world.ask(X_User_Id="u", Tracestate="a=1,crossfade=canary:refunds", Baggage="crossfade.mode=canary,tenant=7")
    [copy] = await world.agent.wait_for(1)
    [served] = world.human.seen
    assert copy["tracestate"] == "crossfade=shadow:refunds,a=1"
    assert copy["baggage"] == "crossfade.mode=shadow,crossfade.route=refunds,tenant=7"
    assert served["tracestate"] == "a=1,crossfade=canary:refunds", "to legacy the client may say what it likes"
    assert copy["traceparent"] == served["traceparent"]
