"""What an older Crossfade wrote: read as it is, brought to the present layout by the first write, and added to."""

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from proxy.model.errors import StoreFormatError
from proxy.model.rollouts import ArmCount, Batch, Evidence, Kept, Users
from proxy.storage import keys
from proxy.storage.connection import Client, ask, connect
from proxy.storage.pairs import PairStore
from proxy.storage.reading import PairArchive
from proxy.storage.rollouts import StateStore
from proxy.storage.upgrade import upgrade
from tests.valkey import Valkey

_COUNTS = (
    "legacy_requests", 9, "legacy_failed", 1, "legacy_slow", 2, "agent_requests", 8, "agent_failed", 3,
    "matched", 1, "mismatched", 1,
)  # fmt: skip

LAYOUT_1: tuple[tuple[str | int, ...], ...] = (
    ("SET", "crossfade:{refunds}:format", 1),
    ("XADD", "crossfade:{refunds}:pairs", "1795530743953-0", "pair", '{"seq":1,"n":0}'),
    ("XADD", "crossfade:{refunds}:pairs", "1795530743954-0", "pair", '{"seq":2,"n":0,"verdict":"mismatched"}'),
    ("XADD", "crossfade:{refunds}:verdict:matched", "1795530743953-0", "", ""),
    ("XADD", "crossfade:{refunds}:verdict:mismatched", "1795530743954-0", "", ""),
    ("SET", "crossfade:{refunds}:seen:w1", 3, "EX", 604_800),
    ("HSET", "crossfade:{refunds}:totals:1:shadow:v1", *_COUNTS),
    ("EXPIRE", "crossfade:{refunds}:totals:1:shadow:v1", 34_000_000),
    ("HSET", "crossfade:{refunds}:totals:1:canary:v1", *_COUNTS),
    ("EXPIRE", "crossfade:{refunds}:totals:1:canary:v1", 34_100_000),
    ("HSET", "crossfade:{refunds}:totals:2:shadow:v2:b", *_COUNTS),
    ("EXPIRE", "crossfade:{refunds}:totals:2:shadow:v2:b", 34_200_000),
)
"""All keys of a route as layout 1 had them, in the commands that make them again."""

SEEN = Evidence(ArmCount(9, 1, 2), ArmCount(8, 3, 0), 1, 1, 0)
STAGES = [("v2:b", 2, "shadow"), ("v1", 1, "canary"), ("v1", 1, "shadow")]


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Client]:
    client = connect(valkey.url)
    for command in LAYOUT_1:
        await ask(client, *command)
    yield client
    await client.aclose()


def batch(seq: int, source: str = "w1") -> Batch:
    return Batch(
        "refunds", source, seq, {("v1", 1, "canary"): Evidence(ArmCount(1), drawn=1)}, pairs=(Kept(None, b"{}"),)
    )


async def test_it_is_read_before_anything_is_written(redis: Client) -> None:
    states, pairs = StateStore(redis), PairArchive(redis)
    for stage in STAGES:
        assert await states.evidence("refunds", *stage) == SEEN
    assert await states.users("refunds", *STAGES[0], 5_000) == Users()
    found, _ = await pairs.pairs("refunds", verdict="mismatched")
    assert [pair["seq"] for pair in found] == [2]
    assert await ask(redis, "GET", keys.layout("refunds")) == b"1"


async def test_the_first_write_brings_it_up_and_adds_to_it_once(redis: Client) -> None:
    states, pairs = StateStore(redis), PairStore(redis)
    with capture_logs() as logs:
        assert await pairs.write([batch(3), batch(4), batch(1, "w2")]) == [False, True, True]
    assert [(entry["event"], entry["layout"], entry["stages"]) for entry in logs] == [("store_upgraded", 3, 3)]
    assert await ask(redis, "GET", keys.layout("refunds")) == b"3"
    assert await states.evidence("refunds", "v1", 1, "canary") == Evidence(
        ArmCount(11, 1, 2), ArmCount(8, 3, 0), 1, 1, 0, drawn=2
    )
    assert len((await PairArchive(redis).pairs("refunds"))[0]) == 4


async def test_the_evidence_of_earlier_versions_can_be_found_newest_first(redis: Client) -> None:
    await PairStore(redis).write([batch(4)])
    assert await StateStore(redis).stages("refunds") == STAGES


async def test_routes_of_both_layouts_go_together(redis: Client) -> None:
    pairs = PairStore(redis)
    other = Batch("claims", "w1", 1, {("v1", 1, "shadow"): Evidence(ArmCount(1))})
    assert await pairs.write([other, batch(4)]) == [True, True]
    assert await pairs.write([other, batch(4)]) == [False, False]
    assert await StateStore(redis).stages("claims") == [("v1", 1, "shadow")]
    assert await StateStore(redis).evidence("claims", "v1", 1, "shadow") == Evidence(ArmCount(1))


async def test_whoever_comes_second_changes_nothing(redis: Client) -> None:
    await PairStore(redis).write([batch(4)])
    with capture_logs() as logs:
        await upgrade(redis, {"refunds"})
    assert logs == []
    assert await StateStore(redis).stages("refunds") == STAGES


async def test_keys_of_others_that_look_alike_are_passed_over(redis: Client) -> None:
    for key in ("crossfade:{refunds}:totals:banana", "crossfade:{other}:totals:1:shadow:v1"):
        await ask(redis, "SET", key, "banana")
    await PairStore(redis).write([batch(4)])
    assert await StateStore(redis).stages("refunds") == STAGES


async def test_a_place_that_is_taken_is_left_as_it_is(redis: Client) -> None:
    await ask(redis, "SET", keys.stages("refunds"), "banana")
    with pytest.raises(StoreFormatError, match="stages: is a string and should be a zset"):
        await PairStore(redis).write([batch(4)])
    assert await ask(redis, "GET", keys.layout("refunds")) == b"1"
    assert await ask(redis, "GET", keys.stages("refunds")) == b"banana"
