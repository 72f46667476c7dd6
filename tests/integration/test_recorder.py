"""Ticks to a real store that is killed, frozen and away: what was submitted is there, once and in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgpack
import orjson
import pytest
from structlog.testing import capture_logs

from proxy.config.rollout_schema import Rollout
from proxy.control import recorder as recording
from proxy.control.batching import route_rules
from proxy.control.recorder import Recorder
from proxy.model.measures import OUTCOMES
from proxy.model.records import Outcome, Record
from proxy.model.rollouts import ArmCount, Evidence, Users
from proxy.model.tick import Labels, Tick, pack_buckets
from proxy.storage import keys
from proxy.storage.connection import Client, ask, connect
from proxy.storage.packing import unpack
from proxy.storage.pairs import PairStore
from proxy.storage.reading import PairArchive
from proxy.storage.rollouts import StateStore
from proxy.storage.spool import Spool
from proxy.telemetry.families import PAIRS
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import spawn, stop
from tests.packing import pack
from tests.valkey import Valkey

RULES = route_rules(
    Rollout.model_validate({"agent": "agent", "version": "v1", "salt": "s", "compare": {"decision": "$.d"}})
)
STAGE = ("v1", 1, "canary")


class Desk:
    """A recorder at work, and what the store holds of it."""

    def __init__(self, recorder: Recorder, redis: Client, spool: Spool, metrics: Metrics) -> None:
        self.recorder, self.spool, self.metrics = recorder, spool, metrics
        self.redis = redis
        self.archive, self.states = PairArchive(redis), StateStore(redis)

    async def ids(self, route: str = "refunds") -> list[str]:
        """The request ids of all stored pairs, oldest first."""
        entries = await ask(self.redis, "XRANGE", keys.pairs(route), "-", "+")
        return [orjson.loads(unpack(fields[b"pair"]))["request_id"] for _, fields in entries]

    async def evidence(self, route: str = "refunds") -> Evidence:
        return await self.states.evidence(route, *STAGE)

    async def users(self) -> Users:
        return await self.states.users("refunds", *STAGE, 5_000)

    def counted(self, family: str, *labels: str) -> float:
        return self.metrics._counters[family].get(labels, 0)

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(20):
            while not await condition():  # nothing tells when a spool has been drained
                await asyncio.sleep(0.01)

    async def until_drained(self) -> None:
        async def drained() -> bool:
            return self.spool.frames == 0

        await self.until(drained)


@asynccontextmanager
async def at_work(url: str, spool: Spool) -> AsyncIterator[Desk]:
    redis = connect(url, connect_timeout=0.5, timeout=0.5)
    metrics = Metrics(process=False)
    recorder = Recorder(PairStore(redis), spool, metrics)
    recorder.set_rules({"refunds": RULES, "claims": RULES})
    work = spawn(recorder.run(), "recorder")
    try:
        yield Desk(recorder, redis, spool, metrics)
    finally:
        await stop(work)
        recorder.close()
        await redis.aclose()


@pytest.fixture
async def desk(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Desk]:
    async with at_work(valkey.url, Spool(tmp_path / "spool")) as desk:
        yield desk


def record(request_id: str, *, route: str = "refunds", agent: str | None = "yes", legacy: str = "yes") -> Record:

    def outcome(decision: str) -> Outcome:
        return Outcome(
            200, 0.01, headers=(("content-type", "application/json"),), body=b'{"d": "%s"}' % decision.encode()
        )

    return Record(
        request_id, "0" * 32, route, *("v1", "canary", 1), 1e9, "POST", "/refunds", "abcd", 7, "legacy", "legacy",
        "bucket_out", "mirrored", legacy=outcome(legacy), agent=None if agent is None else outcome(agent),
    )  # fmt: skip


def tick(seq: int, *records: Record, source: str = "w1", ok: int = 0, failed: int = 0, served: int = 0) -> Tick:
    """`ok` outcomes of legacy, `failed` ones of the agent; `served` users of the agent, other ones in each tick."""
    at = ("refunds", "v1", "canary", "1")
    outcomes = {(*at, "legacy", "ok", str(seq)): ok, (*at, "agent", "failed", str(seq)): failed}
    counts: dict[Labels, int] = {labels: count for labels, count in outcomes.items() if count}
    users: dict[Labels, bytes] = {(*at, "5000", "agent"): pack_buckets(100 * seq + n for n in range(served))}
    return Tick(
        source,
        seq,
        1e9,
        {OUTCOMES.name: counts} if counts else {},
        records=pack(*records),
        users=users if served else {},
    )


async def test_a_tick_is_pairs_and_evidence_when_submit_returns(desk: Desk) -> None:
    await desk.recorder.submit(
        tick(1, record("a"), record("b", agent="no"), record("c", agent=None), ok=3, failed=1, served=2)
    )
    assert await desk.ids() == ["a", "b", "c"]
    decisions = {("yes", "yes"): 1, ("yes", "no"): 1}
    assert await desk.evidence() == Evidence(
        ArmCount(3), ArmCount(1, 1), matched=1, mismatched=1, decisions=decisions, fields={"$.d": (1, 0)}
    )
    assert await desk.users() == Users(0, 2)
    assert desk.counted(PAIRS.name, "refunds", "matched") == 1
    assert desk.counted(PAIRS.name, "refunds", "mismatched") == 1
    (newest, *_), _ = await desk.archive.pairs("refunds", verdict="mismatched")
    assert newest["request_id"] == "b"
    assert (newest["legacy"]["decision"], newest["agent"]["decision"]) == ("yes", "no")


async def test_routes_of_one_tick_go_their_own_ways(desk: Desk) -> None:
    await desk.recorder.submit(tick(1, record("a"), record("b", route="claims")))
    assert (await desk.ids(), await desk.ids("claims")) == (["a"], ["b"])


async def test_a_tick_sent_again_is_counted_once(desk: Desk) -> None:
    for _ in range(2):
        await desk.recorder.submit(tick(1, record("a"), ok=1))
    assert await desk.ids() == ["a"]
    assert (await desk.evidence()).legacy.requests == 1
    assert desk.counted(PAIRS.name, "refunds", "matched") == 1


async def test_a_tick_of_nothing_returns_at_once(desk: Desk, valkey: Valkey) -> None:
    valkey.freeze()
    async with asyncio.timeout(0.4):
        await desk.recorder.submit(tick(1))
    valkey.thaw()


async def test_records_of_a_route_that_is_gone_are_counted(desk: Desk) -> None:
    desk.recorder.set_rules({"claims": RULES})
    await desk.recorder.submit(tick(1, record("a"), record("b", route="claims"), ok=1))
    assert (await desk.ids(), await desk.ids("claims")) == ([], ["b"])
    assert await desk.evidence() == Evidence()
    assert desk.counted("pairs_dropped_total", "refunds", "no_route") == 1


async def test_with_the_store_away_ticks_wait_on_disk_and_follow_in_order(desk: Desk, valkey: Valkey) -> None:
    await desk.recorder.submit(tick(1, record("1")))
    valkey.kill()
    for seq in (2, 3, 4):
        await desk.recorder.submit(tick(seq, record(str(seq)), ok=1))
    assert desk.spool.frames == 3
    assert desk.metrics._gauges["store_up"][()] == 0
    assert desk.metrics._gauges["spool_frames"][()] == 3
    valkey.start()
    await desk.recorder.submit(tick(5, record("5")))
    await desk.until_drained()
    assert await desk.ids() == ["1", "2", "3", "4", "5"]
    assert (await desk.evidence()).legacy.requests == 3
    assert desk.counted(PAIRS.name, "refunds", "matched") == 5
    assert desk.metrics._gauges["store_up"][()] == 1


async def test_a_store_that_was_never_there_gets_it_all_when_it_comes(valkey: Valkey, tmp_path: Path) -> None:
    valkey.stop()
    with capture_logs() as logs:
        async with at_work(valkey.url, Spool(tmp_path / "spool")) as desk:
            for seq in range(1, 6):
                await desk.recorder.submit(tick(seq, record(str(seq))))
            valkey.start()
            await desk.until_drained()
            assert await desk.ids() == ["1", "2", "3", "4", "5"]
    assert [entry["event"] for entry in logs] == ["store_away", "store_back"]


async def test_what_is_on_disk_outlives_the_control_process(valkey: Valkey, tmp_path: Path) -> None:
    valkey.stop()
    async with at_work(valkey.url, Spool(tmp_path / "spool")) as desk:
        await desk.recorder.submit(tick(1, record("1"), ok=1))
    valkey.start()
    async with at_work(valkey.url, Spool(tmp_path / "spool")) as desk:
        await desk.recorder.submit(tick(2, record("2"), ok=1))
        await desk.until_drained()
        assert await desk.ids() == ["1", "2"]
        assert (await desk.evidence()).legacy.requests == 2


async def test_what_the_bound_drops_is_counted_and_its_evidence_is_not_lost(valkey: Valkey, tmp_path: Path) -> None:
    valkey.stop()
    spool = Spool(tmp_path / "spool", limit_bytes=6_000)
    async with at_work(valkey.url, spool) as desk:
        for seq in range(1, 21):
            await desk.recorder.submit(tick(seq, record(str(seq)), record(f"{seq}b", agent="no"), ok=2, served=3))
        assert 0 < spool.frames < 20
        kept = [name for seq in range(1, spool.frames + 1) for name in (str(seq), f"{seq}b")]
        assert desk.counted("pairs_dropped_total", "refunds", "spool_full") == 40 - len(kept)
        valkey.start()
        await desk.until_drained()
        assert await desk.ids() == kept
        await desk.recorder.submit(tick(21, ok=2))
        decisions = {("yes", "yes"): 20, ("yes", "no"): 20}
        fields = {"$.d": (20, 0)}
        assert await desk.evidence() == Evidence(
            ArmCount(42), ArmCount(), matched=20, mismatched=20, decisions=decisions, fields=fields
        )
        assert await desk.users() == Users(0, 60)


async def test_an_unusable_disk_and_no_store_drop_pairs_but_no_evidence(valkey: Valkey, tmp_path: Path) -> None:
    valkey.stop()
    (tmp_path / "file").write_text("in the way")
    async with at_work(valkey.url, Spool(tmp_path / "file" / "spool")) as desk:
        await desk.recorder.submit(tick(1, record("1"), ok=1))
        assert desk.counted("pairs_dropped_total", "refunds", "spool_failed") == 1
        valkey.start()
        await desk.recorder.submit(tick(2, record("2"), ok=1))
        assert await desk.ids() == ["2"]
        assert (await desk.evidence()).legacy.requests == 2


async def test_garbage_in_one_routes_keys_costs_that_route_alone(desk: Desk) -> None:
    await ask(desk.redis, "SET", keys.pairs("refunds"), "banana")
    with capture_logs() as logs:
        for seq in (1, 2):
            await desk.recorder.submit(tick(seq, record("a"), record(f"b{seq}", route="claims")))
    assert await desk.ids("claims") == ["b1", "b2"]
    assert await ask(desk.redis, "GET", keys.pairs("refunds")) == b"banana"
    assert desk.counted("pairs_dropped_total", "refunds", "store_format") == 2
    assert desk.counted(PAIRS.name, "refunds", "matched") == 0
    assert [(entry["event"], entry["route"]) for entry in logs] == [("store_format", "refunds")]


async def test_a_broken_frame_on_disk_holds_nothing_up(valkey: Valkey, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append(b"not a batch")
    with capture_logs() as logs:
        async with at_work(valkey.url, spool) as desk:
            await desk.recorder.submit(tick(1, record("1")))
            await desk.until_drained()
            assert await desk.ids() == ["1"]
    assert "spool_frame_unreadable" in [entry["event"] for entry in logs]


async def test_what_the_version_before_left_on_disk_arrives(valkey: Valkey, tmp_path: Path) -> None:
    document = orjson.dumps({"request_id": "old"})
    counts = [3, 0, 0, 1, 1, 0, 1, 0, 0]
    batch = ["refunds", "w0", 7, 1_000, [["v1", 1, "canary", *counts]], [["matched", document]]]
    spool = Spool(tmp_path / "spool")
    spool.append(msgpack.packb([1, [batch]]))
    async with at_work(valkey.url, spool) as desk:
        await desk.recorder.submit(tick(1, record("new"), ok=1))
        await desk.until_drained()
        assert await desk.ids() == ["old", "new"]
        assert await desk.evidence() == Evidence(ArmCount(4), ArmCount(1, 1), matched=2, decisions={("yes", "yes"): 1})


async def test_a_frozen_store_holds_up_nobody_for_long(desk: Desk, valkey: Valkey) -> None:
    await desk.recorder.submit(tick(1, record("1")))
    valkey.freeze()
    async with asyncio.timeout(5):
        for seq in range(2, 10):
            await desk.recorder.submit(tick(seq, record(str(seq))))
    valkey.thaw()
    await desk.until_drained()
    assert await desk.ids() == [str(seq) for seq in range(1, 10)]


async def test_killed_and_restarted_under_load_it_loses_and_doubles_nothing(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_LONGEST_PAUSE", 0.2)
    ticks, sources = 150, ("w1", "w2", "w3")
    async with at_work(valkey.url, Spool(tmp_path / "spool", segment_bytes=64 << 10)) as desk:
        done = 0

        async def worker(source: str) -> None:
            nonlocal done
            for seq in range(1, ticks + 1):
                names = [f"{source}-{seq}-{n}" for n in range(5)]
                await desk.recorder.submit(tick(seq, *map(record, names), source=source, ok=5, failed=1, served=2))
                done += 1

        async with AsyncExitStack() as stack:
            load = await stack.enter_async_context(asyncio.TaskGroup())
            for source in sources:
                load.create_task(worker(source))
            for share in (0.2, 0.5, 0.8):
                goal = int(share * ticks * len(sources))

                async def reached(goal: int = goal) -> bool:
                    return done >= goal

                await desk.until(reached)
                valkey.kill()
                await desk.recorder.submit(tick(int(share * 10), source=f"probe-{share}", ok=1))
                valkey.start()
        await desk.until_drained()
        found = await desk.ids()
        for source in sources:
            mine = [name for name in found if name.startswith(f"{source}-")]
            assert mine == [f"{source}-{seq}-{n}" for seq in range(1, ticks + 1) for n in range(5)]
        assert len(found) == len(set(found)) == 5 * ticks * len(sources)
        requests = 5 * ticks * len(sources)
        assert await desk.evidence() == Evidence(
            ArmCount(requests + 3),
            ArmCount(ticks * len(sources), ticks * len(sources)),
            matched=requests,
            decisions={("yes", "yes"): requests},
        )
        assert await desk.users() == Users(0, 2 * ticks)
        assert desk.counted(PAIRS.name, "refunds", "matched") == requests
