"""No anchoring: of what the agent says to a copy no byte reaches the human workflow or the client, before the human has
decided or after; they get, byte for byte, what they get without a shadow."""

from dataclasses import replace

import pytest

from proxy.model.snapshot import BUCKETS, CallbackSpec, ShadowSpec
from tests.integration.gateway.conftest import RECORD_ALL, World, until
from tests.integration.gateway.peers import Message, answer

SAID = "the-agent-said-so"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SHADOW = ShadowSpec(share=BUCKETS, repeat=BUCKETS, set_headers=(("authorization", f"Bearer {SAID}"),))

ANSWERS = {
    "decides": answer(b'{"decision": "%b"}' % SAID.encode(), 200, f"X-Decision: {SAID}", f"Set-Cookie: a={SAID}"),
    "hands over": answer(SAID.encode(), 200, f"X-Crossfade-Escalate: {SAID}", f"X-Crossfade-Arm: {SAID}"),
    "fails": answer(SAID.encode(), 500, f"Retry-After: {SAID}", f"X-Request-Id: {SAID}", f"Traceparent: {SAID}"),
    "hints": f"HTTP/1.1 103 Early Hints\r\nLink: {SAID}\r\n\r\n".encode() + answer(SAID.encode()),
    "trails": (
        f"HTTP/1.1 200 {SAID}\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n"
        f"{len(SAID):x}\r\n{SAID}\r\n0\r\nx: {SAID}\r\n\r\n"
    ).encode(),
}


async def visit(world: World, agents: int) -> tuple[list[bytes], list[bytes]]:
    """What the client and legacy get while a case is opened, asked for again and decided: on one connection, the agent
    done with each copy, `agents` requests of it, before legacy answers."""
    due = 0

    async def opens(_: Message) -> bytes:
        await world.agent.wait_for(due)
        return answer(b'{"case_id": "c-1"}', 202, "Content-Type: application/json")

    world.human.answers = opens
    world.human.seen.clear()
    world.agent.seen.clear()
    got: list[bytes] = []
    async with world.client() as client:
        for number in range(3):
            due = (number + 1) * agents
            said = await client.ask(
                "POST", "/refunds", b'{"amount": 5}', X_User_Id="u", X_Request_Id=f"r-{number}", Traceparent=TRACE
            )
            got.append(said.raw)
            await world.agent.wait_for(due)
        decided = await client.ask(
            "POST",
            "/plain/decisions",
            b'{"case_id": "c-1", "decision": "approve"}',
            X_Request_Id="d",
            Traceparent=TRACE,
        )
        got.append(decided.raw)
    return got, [seen.raw for seen in world.human.seen]


@pytest.mark.parametrize("name", ANSWERS)
async def test_nothing_of_a_shadow_answer_goes_anywhere(world: World, name: str) -> None:
    world.beside = {"callbacks": (CallbackSpec("refunds", "/plain/decisions"),)}
    world.agent.answers = lambda _: ANSWERS[name]
    world.use(record=RECORD_ALL, shadow=ShadowSpec(share=0))
    client, human = await visit(world, agents=0)
    assert world.agent.seen == []
    world.use(shadow=SHADOW if name != "hints" else replace(SHADOW, repeat=0))
    copied = await visit(world, agents=2 if SHADOW.repeat and name not in ("hands over", "fails", "hints") else 1)
    assert len(human) == 4
    assert all(len(raw) > 100 for raw in human + client)
    assert SAID.encode() not in b"".join(copied[0] + copied[1])
    assert copied == (client, human)
    await until(lambda: sum(world.fates().values()) == 6)
