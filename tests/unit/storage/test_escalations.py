"""What was handed over, as it is read from a real store."""

import base64
from collections.abc import AsyncIterator

import orjson
import pytest

from proxy.model.errors import StoreFormatError
from proxy.model.rollouts import Batch, Kept
from proxy.model.snapshot import SealingKey
from proxy.outcomes.steps import Step
from proxy.storage import keys
from proxy.storage.connection import Client, ask, connect
from proxy.storage.escalations import EscalationStore
from proxy.storage.pairs import PairStore
from proxy.storage.reading import PairArchive
from proxy.storage.sealing import Sealer
from proxy.storage.steps import Bounds, Found, StepStore
from tests.integration.escalation_world import Escalating, kept, pair
from tests.valkey import Valkey


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Client]:
    client = connect(valkey.url)
    yield client
    await client.aclose()


@pytest.fixture
def escalating(redis: Client) -> Escalating:
    return Escalating(PairStore(redis))


@pytest.fixture
def store(redis: Client) -> EscalationStore:
    return EscalationStore(redis, PairArchive(redis))


async def test_it_is_found_by_its_id_with_all_that_its_pair_says(
    store: EscalationStore, escalating: Escalating
) -> None:
    await escalating.write(1, 2)
    found = await store.escalation("refunds", "e2")
    assert found is not None
    assert (found["id"], found["reason"], found["detail"]) == ("e2", "timeout", "no answer within 20 s")
    assert found["pair"]["request"]["body"] == {"id": "order-2", "amount": 42}
    assert found["pair_id"] == found["pair"]["id"]


@pytest.mark.parametrize("escalation_id", ["e9", "", "e1\n", "../e1", "x" * 200, "é"])
async def test_an_id_of_which_nothing_is_kept(
    store: EscalationStore, escalating: Escalating, escalation_id: str
) -> None:
    await escalating.write(1)
    assert await store.escalation("refunds", escalation_id) is None
    assert await store.escalation("claims", "e1") is None


async def test_where_its_pair_is_gone_so_is_it(store: EscalationStore, escalating: Escalating, redis: Client) -> None:
    await escalating.write(1)
    await ask(redis, "DEL", keys.pairs("refunds"))
    assert await store.escalation("refunds", "e1") is None
    assert await store.escalations("refunds") == ([], None)


async def test_they_are_listed_newest_first_page_by_page(store: EscalationStore, escalating: Escalating) -> None:
    await escalating.write(*range(7))
    seen: list[str] = []
    before, pages = None, 0
    while pages == 0 or before is not None:
        found, before = await store.escalations("refunds", before=before, limit=3)
        seen += [each["id"] for each in found]
        pages += 1
    assert seen == [f"e{number}" for number in reversed(range(7))]
    assert pages == 3


async def test_those_of_one_reason(store: EscalationStore, escalating: Escalating) -> None:
    for number in range(60):
        await escalating.write(number, reason="confidence" if number % 20 == 0 else "timeout")
    found, following = await store.escalations("refunds", reason="confidence", limit=2)
    assert [each["id"] for each in found] == ["e40", "e20"]
    assert {each["reason"] for each in found} == {"confidence"}
    found, following = await store.escalations("refunds", reason="confidence", before=following, limit=2)
    assert ([each["id"] for each in found], following) == (["e0"], None)


async def test_a_page_ends_where_enough_was_looked_at(
    store: EscalationStore, escalating: Escalating, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.storage.escalations.MAX_LOOKED", 50)
    await escalating.write(0, reason="reset")
    await escalating.write(*range(1, 60))
    found, following = await store.escalations("refunds", reason="reset")
    assert found == []
    assert following is not None
    found, _ = await store.escalations("refunds", reason="reset", before=following)
    assert [each["id"] for each in found] == ["e0"]


async def test_a_cursor_or_reason_that_is_none_is_refused(store: EscalationStore) -> None:
    with pytest.raises(ValueError, match="no cursor"):
        await store.escalations("refunds", before="-")
    with pytest.raises(ValueError, match="no reason; it is one of connect_failure, timeout"):
        await store.escalations("refunds", reason="because")


async def test_its_steps_are_those_of_its_trace(redis: Client, escalating: Escalating) -> None:
    steps = StepStore(redis, Sealer())
    step: Step = {"id": "a" * 16, "parent": "", "kind": "tool", "name": "pay_out", "start": 1, "duration": 0.1}
    await steps.keep("refunds", {f"{1:032x}": [Found("a" * 16, "", [step])]}, Bounds(1e6, 100, 1 << 20))
    await escalating.write(1)
    found = await EscalationStore(redis, PairArchive(redis), steps).escalation("refunds", "e1")
    assert found is not None
    assert [each["name"] for each in found["pair"]["steps"]] == ["pay_out"]
    assert found["pair"]["step_totals"]["tool_calls"] == 1


async def test_what_is_not_ours_is_refused(store: EscalationStore, redis: Client) -> None:
    await ask(redis, "XADD", keys.escalations("refunds"), "*", "id", "e1")
    with pytest.raises(StoreFormatError):
        await store.escalations("refunds")


def at_it(number: int) -> Kept:
    """What a worker tells while legacy is at it."""
    document = pair(number, legacy=None, verdict=None)
    return Kept(None, orjson.dumps(document), 1e9, escalation=f"e{number}", reason="timeout")


async def test_while_legacy_is_at_it_there_is_what_is_known_and_then_its_pair(
    store: EscalationStore, redis: Client
) -> None:
    pairs = PairStore(redis)
    await pairs.write([Batch("refunds", "w1", 1, handed=(at_it(1), at_it(2)))])
    found = await store.escalation("refunds", "e1")
    assert found is not None
    assert (found["pair_id"], found["pair"]["legacy"]) == (None, None)
    assert found["pair"]["agent"]["body"] == {"thought": "the order is late"}
    listed, _ = await store.escalations("refunds")
    assert [each["id"] for each in listed] == ["e2", "e1"]

    await pairs.write([Batch("refunds", "w1", 2, pairs=(kept(1),))])
    found = await store.escalation("refunds", "e1")
    assert found is not None
    assert found["pair"]["legacy"]["status"] == 202
    assert await ask(redis, "EXISTS", keys.handed("refunds", "e1")) == 0
    listed, _ = await store.escalations("refunds")
    assert [each["id"] for each in listed] == ["e2", "e1"], "each is told once"
    assert len(await ask(redis, "XRANGE", keys.pairs("refunds"), "-", "+")) == 1, "what is handed over is no pair yet"


async def test_what_comes_after_its_pair_or_twice_tells_nothing_new(store: EscalationStore, redis: Client) -> None:
    pairs = PairStore(redis)
    await pairs.write([Batch("refunds", "w1", 1, pairs=(kept(1),))])
    await pairs.write([Batch("refunds", "w1", 2, handed=(at_it(1), at_it(2), at_it(2)))])
    assert await ask(redis, "EXISTS", keys.handed("refunds", "e1")) == 0
    listed, _ = await store.escalations("refunds")
    assert [each["id"] for each in listed] == ["e2", "e1"]


async def test_what_is_known_is_sealed_like_a_pair(redis: Client) -> None:
    sealer = Sealer([SealingKey("k1", base64.b64encode(bytes(32)).decode())])
    document = sealer.seal(at_it(1).document, "refunds")
    await PairStore(redis).write([Batch("refunds", "w1", 1, handed=(at_it(1)._replace(document=document),))])
    opened = await EscalationStore(redis, PairArchive(redis), sealer=sealer).escalation("refunds", "e1")
    assert opened is not None
    assert opened["pair"]["request"]["body"]["amount"] == 42
    closed = await EscalationStore(redis, PairArchive(redis)).escalation("refunds", "e1")
    assert closed is not None
    assert "k1" in closed["pair"]["unreadable"]
