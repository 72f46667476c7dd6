"""What the agent hands over is recorded, whatever the sample, and legacy gets a link to it."""

import asyncio
from urllib.parse import parse_qs, urlsplit

from proxy.model.snapshot import BUCKETS, EscalateSpec, LinkSpec, RecordSpec
from proxy.routing.link import verify
from tests.integration.gateway.conftest import World, until
from tests.integration.gateway.peers import Message, answer, request

SECRET = "sixteen-characters"
UNRECORDED = RecordSpec(share=0)


async def test_an_escalation_is_recorded_although_the_sample_leaves_it_out(world: World) -> None:
    world.use(weight=BUCKETS, record=UNRECORDED)
    world.agent.answers = lambda _: answer(b'{"so far": 1}', 200, "X-Crossfade-Escalate: unclear")
    await world.ask("POST", "/refunds", b'{"id": 1}', X_User_Id="u")
    [record] = await world.records(1)
    assert record.escalation == (world.human.seen[0]["x-crossfade-escalation"], "unclear")
    assert (record.body, record.fate) == (b'{"id": 1}', "sampled_out")
    assert record.agent is not None
    assert (record.agent.status, record.agent.body, record.agent.error) == (200, b'{"so far": 1}', "escalation")
    assert record.legacy is not None
    assert record.legacy.status == 200


async def test_so_is_one_for_lack_of_confidence(world: World) -> None:
    world.use(
        weight=BUCKETS, record=UNRECORDED, escalate=EscalateSpec(confidence_path="$.confidence", confidence_below=0.6)
    )
    world.agent.answers = lambda _: answer(b'{"confidence": 0.5}')
    await world.ask(X_User_Id="u")
    [record] = await world.records(1)
    assert record.escalation is not None
    assert record.escalation[1] == "confidence 0.5"
    assert record.agent is not None
    assert record.agent.body == b'{"confidence": 0.5}'


async def test_so_is_an_agent_that_is_gone(world: World) -> None:
    world.use(weight=BUCKETS, record=UNRECORDED)
    await world.agent.stop()
    await world.ask(X_User_Id="u")
    [record] = await world.records(1)
    assert record.escalation is not None
    assert record.escalation[1] == "connect_failure"


async def test_legacy_gets_a_signed_link(world: World) -> None:
    world.beside = {"link": LinkSpec("https://crossfade.example.com", SECRET, 3600.0)}
    world.use(weight=BUCKETS)
    world.agent.answers = lambda _: answer(b"", 500)
    said = await world.ask(X_User_Id="u")
    [served] = world.human.seen
    parts = urlsplit(served["x-crossfade-escalation-link"] or "")
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    escalation = served["x-crossfade-escalation"] or ""
    assert parts.path == f"/escalations/refunds/{escalation}"
    expires = int(query["expires"])
    assert verify(SECRET, "refunds", escalation, expires, query["signature"], expires - 1) == ""
    assert said["x-crossfade-escalation-link"] is None, "it is for the human alone"


async def test_without_a_url_there_is_none(world: World) -> None:
    world.use(weight=BUCKETS)
    world.agent.answers = lambda _: answer(b"", 500)
    await world.ask(X_User_Id="u")
    assert world.human.seen[0]["x-crossfade-escalation-link"] is None
    assert world.human.seen[0]["x-crossfade-escalation"]


async def test_a_human_who_is_at_it_can_read_already_what_the_agent_tried(world: World) -> None:
    decided = asyncio.Event()

    async def slowly(_: Message) -> bytes:
        await decided.wait()
        return answer(b'{"decision": "no"}')

    world.use(weight=BUCKETS, record=UNRECORDED)
    world.agent.answers = lambda _: answer(b'{"so far": 1}', 200, "X-Crossfade-Escalate: unclear")
    world.human.answers = slowly
    async with world.client() as client:
        client.send(request("POST", "/refunds", b'{"id": 1}', X_User_Id="u"))
        [early] = await world.records(1)
        assert early.legacy is None
        assert early.agent is not None
        assert (early.agent.body, early.agent.error, early.body) == (b'{"so far": 1}', "escalation", b'{"id": 1}')
        decided.set()
        assert (await client.read()).body == b'{"decision": "no"}'
    _, whole = await world.records(2)
    assert whole.escalation == early.escalation
    assert whole.legacy is not None
    assert world.worker.shared.handed == set()


async def test_a_quick_answer_makes_one_record(world: World) -> None:
    world.use(weight=BUCKETS)
    world.agent.answers = lambda _: answer(b"", 500)
    for _ in range(3):
        await world.ask(X_User_Id="u")
    assert [record.legacy is not None for record in await world.records(3)] == [True] * 3
    assert world.worker.shared.handed == set()


async def test_what_the_agent_tried_outlives_a_client_that_leaves(world: World) -> None:
    world.use(weight=BUCKETS, record=UNRECORDED)
    world.agent.answers = lambda _: answer(b"", 500)
    world.human.answers = never
    async with world.client() as client:
        client.send(request("POST", "/refunds", b"", X_User_Id="u"))
        await world.human.wait_for(1)
        client.reset()
    await until(lambda: world.counts("client_gone_total") == {("refunds",): 1})
    [record] = await world.records(1)
    assert (record.legacy, record.escalation is not None) == (None, True)
    assert world.worker.shared.handed == set()


async def never(_: Message) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError("nobody waits any more")


async def test_a_worker_that_ends_waits_for_no_partial_answer_and_loses_no_escalation(world: World) -> None:
    world.use(weight=BUCKETS, record=UNRECORDED)
    world.agent.answers = lambda _: b"HTTP/1.1 500 x\r\nContent-Length: 100\r\n\r\nso far"
    assert (await world.ask(X_User_Id="u"))["x-crossfade-arm"] == "legacy"
    world.worker.report()
    assert world.told.records == []
    await world.worker.drain(0.0)
    [record] = world.told.records
    assert record.escalation is not None
    assert record.agent is not None
    assert (record.agent.status, record.agent.body) == (500, b"so far")
