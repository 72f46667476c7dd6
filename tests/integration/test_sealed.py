"""With keys set, nothing of a request is readable in the store or on the disk, and all of it comes back."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from proxy.config.rollout_schema import Rollout
from proxy.control.batching import route_rules
from proxy.control.recorder import Recorder
from proxy.gateway.link import UNREADABLE
from proxy.model.measures import PAIRS_DROPPED
from proxy.model.records import Outcome, Parcel, Record
from proxy.model.tick import Tick
from proxy.storage import keys
from proxy.storage.connection import ask, connect
from proxy.storage.pairs import PairStore
from proxy.storage.reading import PairArchive
from proxy.storage.sealing import Sealer
from proxy.storage.spool import Spool
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import spawn, stop
from tests.integration.test_control_link import Desk, Worker, snapshot
from tests.packing import pack
from tests.seals import NEW_KEY, OLD_KEY
from tests.valkey import Valkey

PERSON = "jane.roe@example.com"
RULES = route_rules(Rollout.model_validate({"agent": "a", "version": "v1", "salt": "s"}))


def record(number: int) -> Record:
    body = orjson.dumps({"customer": PERSON, "number": number})
    answer = Outcome(200, 0.01, body=body)
    return Record(
        f"r{number}", "0" * 32, "refunds", "v1", "canary", 1, 1e9, "POST", "/refunds", "abcd", 7, "legacy", "shadow",
        "bucket_out", "mirrored", body=body, legacy=answer, agent=answer,
    )  # fmt: skip


def tick(seq: int) -> Tick:
    return Tick("w1", seq, 1e9, records=pack(record(seq)))


def files(directory: Path) -> Iterator[bytes]:
    for path in directory.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


async def until(condition: object) -> None:
    async with asyncio.timeout(20):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def test_pairs_are_sealed_in_the_store_and_read_with_any_key_that_is_kept(valkey: Valkey, tmp_path: Path) -> None:
    sealer = Sealer([OLD_KEY])
    redis = connect(valkey.url)
    recorder = Recorder(PairStore(redis), Spool(tmp_path / "spool"), Metrics(process=False), sealer)
    recorder.set_rules({"refunds": RULES})
    work = spawn(recorder.run(), "recorder")
    await recorder.submit(tick(1))
    sealer.use([NEW_KEY, OLD_KEY])
    await recorder.submit(tick(2))
    raw = [fields[b"pair"] for _, fields in await ask(redis, "XRANGE", keys.pairs("refunds"), "-", "+")]
    assert [PERSON.encode() in document for document in raw] == [False, False]
    assert [key.id.encode() in document for key, document in zip((OLD_KEY, NEW_KEY), raw, strict=True)] == [True, True]

    found, _ = await PairArchive(redis, Sealer([NEW_KEY, OLD_KEY])).pairs("refunds")
    assert [pair["request"]["body"]["customer"] for pair in found] == [PERSON, PERSON]
    told: list[str] = []
    found, _ = await PairArchive(redis, Sealer([NEW_KEY], told.append)).pairs("refunds")
    assert found[0]["request_id"] == "r2"
    assert "'2026-01', which is not in encryption.keys" in found[1]["unreadable"]
    assert found[1]["id"].startswith("refunds.")
    assert told == ["refunds"]
    assert await PairArchive(redis).pair(found[1]["id"]) == {
        "id": found[1]["id"],
        "unreadable": "it was sealed with the key '2026-01', which is not in encryption.keys",
    }
    await stop(work)
    recorder.close()
    await redis.aclose()


async def test_what_waits_for_the_store_is_sealed_on_disk_evidence_included(tmp_path: Path) -> None:
    sealer = Sealer([NEW_KEY])
    redis = connect(f"unix://{tmp_path}/nobody.sock")
    spool = Spool(tmp_path / "spool", sealer=sealer)
    recorder = Recorder(PairStore(redis), spool, Metrics(process=False), sealer)
    recorder.set_rules({"refunds": RULES})
    work = spawn(recorder.run(), "recorder")
    await recorder.submit(tick(1))
    on_disk = b"".join(files(tmp_path / "spool"))
    assert NEW_KEY.id.encode() in on_disk
    assert b"refunds" not in on_disk
    assert PERSON.encode() not in on_disk
    await stop(work)
    recorder.close()
    await redis.aclose()


@pytest.fixture
def away(tmp_path: Path) -> Desk:
    """A control process that is not there yet."""
    return Desk(tmp_path / "link.sock")


async def left_on_disk(away: Desk, tmp_path: Path) -> None:
    """A worker's report, made while nobody listened."""
    worker = Worker(away.path, tmp_path / "worker-1")
    await worker.link.start(0.01)
    worker.link.sealer.use([OLD_KEY])  # of the last good configuration, as `serve` does
    worker.link.report({}, {}, {}, [Parcel([pack(record(1))], {"refunds": 1})], {})
    await worker.link.close(0.01)


async def test_what_a_worker_leaves_on_disk_is_sealed_and_its_next_life_sends_it(away: Desk, tmp_path: Path) -> None:
    await left_on_disk(away, tmp_path)
    on_disk = b"".join(files(tmp_path / "worker-1"))
    assert OLD_KEY.id.encode() in on_disk
    assert PERSON.encode() not in on_disk

    await away.restart(replace(snapshot(1), sealing=(NEW_KEY, OLD_KEY)))
    worker = Worker(away.path, tmp_path / "worker-1")
    await worker.link.start(5.0)
    await away.until(lambda: bool(away.ticks))
    assert PERSON.encode() in away.ticks[0][0].records
    await worker.link.close(1.0)
    await away.hub.close()


async def test_a_worker_counts_what_it_can_no_longer_open(away: Desk, tmp_path: Path) -> None:
    await left_on_disk(away, tmp_path)
    await away.restart(replace(snapshot(1), sealing=(NEW_KEY,)))
    worker = Worker(away.path, tmp_path / "worker-1")
    with capture_logs() as logs:
        await worker.link.start(5.0)
        await until(lambda: any(line["event"] == "spool_frame_unreadable" for line in logs))
        worker.count()
        await away.until(lambda: bool(away.ticks))
    assert away.ticks[0][0].counters[PAIRS_DROPPED.name] == {("", UNREADABLE): 1}
    await worker.link.close(1.0)
    await away.hub.close()
