"""One person is forgotten: proven by looking at every key of the store, raw and opened, and at what comes later."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis import asyncio as aredis
from structlog.testing import capture_logs

from proxy.config.schema import Config
from proxy.control.batching import make_batches
from proxy.control.erasing import FILES, Eraser
from proxy.control.keeping import Keeper
from proxy.model.errors import CommandError, SealError
from proxy.model.records import Record
from proxy.model.rollouts import Batch
from proxy.model.tick import Tick
from proxy.routing.bucket import key_hasher
from proxy.storage import erasure, keys
from proxy.storage.connection import ask, connect
from proxy.storage.erasure import Erased, ErasureStore, digest
from proxy.storage.pairs import PairStore
from proxy.storage.reading import PairArchive
from proxy.storage.retention import RetentionStore
from proxy.storage.sealing import Sealer
from proxy.storage.steps import Bounds, Found, StepStore
from proxy.telemetry.families import ERASED
from proxy.telemetry.metrics import Metrics
from tests.packing import pack
from tests.seals import NEW_KEY, OLD_KEY
from tests.unit.control.late_world import World
from tests.valkey import Cluster, Valkey

JANE, JOHN = "jane.roe@example.com", "john.doe@example.com"
SALT = "s"


def key_hash(person: str, salt: str = SALT) -> str:
    return key_hasher(salt)(person.encode()).hex()


class Place(World):
    """A route at which two persons were. What is Jane's says so wherever it stands."""

    def __init__(self, redis: Any, *, sealed: bool = True) -> None:
        super().__init__(redis)
        if sealed:
            self.sealer.use([NEW_KEY])
        self.pairs = PairStore(redis, self.dropped, self.sealer)
        self.steps = StepStore(redis, self.sealer)
        self.erasures = ErasureStore(redis, self.sealer)
        self.lost: list[tuple[str, int]] = []

    def dropped(self, _route: str, reason: str, n: int) -> None:
        self.lost.append((reason, n))

    def of(self, person: str, number: int, *, case: bool = False, escalated: str = "", salt: str = SALT) -> Record:
        record = self.record(f"{person} {number}", "approve", legacy=202 if case else 200)
        return record._replace(
            request_id=f"{person[:4]}-{number}",
            trace_id=f"{number:08x}".rjust(32, "a" if person == JANE else "b"),
            key_hash=key_hash(person, salt),
            body=orjson.dumps({"customer": person, "note": "x" * 300, "number": number}),
            escalation=(escalated, f"unsure about {person}") if escalated else None,
        )

    async def work(self, record: Record) -> None:
        """The agent tells what it did."""
        step = {"id": "1" * 16, "parent": "", "kind": "tool", "name": "look up", "start": 1, "duration": 0.1}
        step["arguments"] = {"customer": record.request_id}
        found = {record.trace_id: [Found("1" * 16, "", [step])]}
        await self.steps.keep(self.route, found, Bounds(86_400.0, 1_000, 1 << 20))

    async def live(self) -> None:
        """Some days of both."""
        for number in range(1, 21):
            both = [self.of(JANE, number, case=number > 10), self.of(JOHN, number, case=number > 10)]
            await self.write(*both)
        for person in (JANE, JOHN):
            await self.write(self.of(person, 21, escalated=f"e-{person[:4]}"))
            handed = self.of(person, 22, escalated=f"h-{person[:4]}")
            await self.write(handed._replace(legacy=None))
            for number in (1, 2, 21, 22):
                await self.work(self.of(person, number))
            await self.tell(f"{person} 11", "approve", by=person)
            await self.tell(f"{person} 12", "deny", by=person)
        await self.join()
        for person in (JANE, JOHN):
            await self.tell(f"{person} 13", "approve", by=person)  # still in the inbox

    async def batches(self, seq: int, *records: Record) -> list[Batch]:
        tick = Tick("w1", 1_000 + seq, self.clock.now(), {}, records=pack(*records))
        return await make_batches(tick, self.rules, lambda *_: None, self.sealer, lambda *_: None)

    async def erase(self, person: str = JANE) -> Erased:
        return await self.erasures.erase(self.route, [key_hash(person)], self.clock.now())


async def everything(redis: Any, sealer: Sealer) -> bytes:
    """All that the store holds: each value as it is, opened, and as the server has it in memory."""
    await redis.config_set("rdbcompression", "no")
    pieces: list[bytes] = []
    async for name in redis.scan_iter():
        pieces += [name, await redis.dump(name)]
        for value in await values(redis, name):
            pieces.append(value)
            for about in ("refunds", "spool"):
                try:
                    pieces.append(sealer.open(value, about))
                except SealError:
                    continue
    return b"\n".join(pieces)


async def values(redis: Any, name: bytes) -> list[bytes]:
    match (await redis.type(name)).decode():
        case "string":
            return [await redis.get(name)]
        case "hash":
            return [part for pair in (await redis.hgetall(name)).items() for part in pair]
        case "list":
            return list(await redis.lrange(name, 0, -1))
        case "set":
            return list(await redis.smembers(name))
        case "zset":
            return list(await redis.zrange(name, 0, -1))
        case "stream":
            return [part for _, fields in await redis.xrange(name) for pair in fields.items() for part in pair]
        case other:
            raise AssertionError(f"what is a {other}?")


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Any]:
    client = connect(valkey.url, timeout=5.0)
    assert isinstance(client, aredis.Redis)
    yield client
    await client.aclose()


@pytest.mark.parametrize("sealed", [True, False])
async def test_nothing_of_the_person_is_left_and_all_of_the_others(redis: Any, sealed: bool) -> None:
    place = Place(redis, sealed=sealed)
    await place.live()
    before = await everything(redis, place.sealer)
    mine = [JANE, key_hash(JANE), "jane-1", "e-jane", "h-jane", "aaaaaaaa00000001"]
    for each in mine:
        assert each.encode() in before, each
    johns = await others(place)

    assert await place.erase() == Erased(pairs=21, outcomes=2, escalations=2, traces=4, waiting=1)
    after = await everything(redis, place.sealer)
    for each in mine[:-1]:
        assert each.encode() not in after, each
    # Steps of her traces that are still on their way are turned away, so their names stay for a day.
    assert after.count(b"aaaaaaaa00000001") == 1
    assert await others(place) == johns
    assert JOHN.encode() in after
    assert await place.erase() == Erased()


async def others(place: Place) -> Any:
    """All that is John's, as it is read."""
    pairs, _ = await PairArchive(place.redis, place.sealer).pairs(place.route, limit=500)
    kept = [pair for pair in pairs if pair["key_hash"] == key_hash(JOHN)]
    steps = [(await place.steps.read(place.route, place.of(JOHN, number).trace_id)).steps for number in (1, 2, 21, 22)]
    names = [keys.escalation(place.route, "e-john"), keys.handed(place.route, "h-john")]
    waiting = [entry for entry in await place.redis.xrange(keys.outcomes(place.route)) if b"outcome" in entry[1]]
    refs = sorted([name async for name in place.redis.scan_iter(keys.ref(place.route, "*"))])
    return kept, steps, await place.redis.mget(names), len(waiting) > 0, len(refs) > 0


async def test_what_waits_elsewhere_is_not_kept_when_it_comes(redis: Any) -> None:
    place = Place(redis)
    late = [*(await place.batches(1, place.of(JANE, 31, case=True, escalated="e-late"), place.of(JOHN, 31)))]
    early = await place.batches(2, place.of(JANE, 32, escalated="h-late")._replace(legacy=None))
    await place.work(place.of(JANE, 31))  # what the agent did is told before
    await place.tell(f"{JANE} 31", "approve", by=JANE)
    await place.join()
    await place.erase()

    assert await place.pairs.write([*late, *early]) == [True, True]
    (pair,), _ = await PairArchive(redis, place.sealer).pairs(place.route)
    assert pair["request_id"] == "john-31"
    after = await everything(redis, place.sealer)
    for each in (JANE, key_hash(JANE), "e-late", "h-late", "look up"):
        assert each.encode() not in after, each
    assert sum(n for reason, n in place.lost if reason == "erased") == 1


async def test_what_is_recorded_afterwards_is_kept(redis: Any) -> None:
    place = Place(redis)
    await place.erase()
    place.clock.advance(60.0)
    await place.write(place.of(JANE, 40))
    assert (await PairArchive(redis, place.sealer).pairs(place.route))[0][0]["request_id"] == "jane-40"


async def test_pairs_that_come_while_the_others_are_written_anew_are_kept_in_order(
    redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "_COPIED", 1)
    place = Place(redis)
    await place.live()

    async def go_on() -> int:
        written = 0
        while not erasing.done():
            written += 1
            place.clock.advance(1.0)
            await place.write(place.of(JOHN, 1_000 + written))
        return written

    erasing = asyncio.ensure_future(place.erase())  # noqa: TID251  # awaited below
    written = await go_on()
    await erasing
    ids = [entry for entry, _ in await redis.xrange(keys.pairs(place.route))]
    assert ids == sorted(ids, key=lambda entry: [int(part) for part in entry.split(b"-")])
    assert len(ids) == 21 + written
    assert written > 5
    assert await redis.ttl(keys.pairs(place.route)) == -1
    await place.write(place.of(JOHN, 5_000))  # ids go on
    assert JANE.encode() not in await everything(redis, place.sealer)


async def test_ids_go_on_behind_one_that_was_erased(redis: Any) -> None:
    place = Place(redis)
    await place.write(place.of(JOHN, 1), place.of(JANE, 2))
    before = (await redis.xinfo_stream(keys.pairs(place.route)))["last-generated-id"]
    await place.erase()
    assert (await redis.xinfo_stream(keys.pairs(place.route)))["last-generated-id"] == before


async def test_an_erasure_that_was_cut_off_is_finished_by_the_next_round(
    redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(redis)
    await place.live()

    async def killed(_self: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(erasure._Erasure, "rewrite", killed)
        with pytest.raises(asyncio.CancelledError):
            await place.erase()
    pairs, _ = await PairArchive(redis, place.sealer).pairs(place.route, limit=500)
    assert {pair["key_hash"] for pair in pairs} == {key_hash(JOHN)}
    keeper = Keeper(RetentionStore(redis), place.erasures, Metrics(process=False), place.clock, lambda: True)
    keeper.set_rules(place.rules)
    await keeper.round()
    assert await redis.hexists(keys.erased(place.route), ":rewrite") == 0
    after, _ = await PairArchive(redis, place.sealer).pairs(place.route, limit=500)
    assert after == pairs


async def test_two_at_once_do_not_get_in_each_others_way(redis: Any) -> None:
    place = Place(redis)
    await place.live()
    await redis.set(keys.erasing(place.route), "somebody else")
    with pytest.raises(CommandError, match="somebody else is being erased from refunds"):
        await place.erase()
    assert await redis.get(keys.erasing(place.route)) == b"somebody else"
    await redis.delete(keys.erasing(place.route))
    assert (await place.erase()).pairs == 21
    assert await redis.exists(keys.erasing(place.route)) == 0


async def test_what_does_not_open_is_counted_since_nobody_knows_whose_it_is(redis: Any) -> None:
    place = Place(redis)
    place.sealer.use([OLD_KEY])
    await place.write(place.of(JANE, 1))
    place.sealer.use([NEW_KEY])
    await place.write(place.of(JANE, 2))
    assert await place.erase() == Erased(pairs=1, unreadable=1)


async def test_more_pairs_than_are_held_in_memory(redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "MAX_TARGETS", 3)
    place = Place(redis)
    await place.live()
    assert await place.erase() == Erased(pairs=21, outcomes=2, escalations=2, traces=4, waiting=1)
    assert JANE.encode() not in await everything(redis, place.sealer)


async def test_a_cluster_forgets_too(cluster: Cluster) -> None:
    client = connect(cluster.url, timeout=5.0)
    place = Place(client)
    await place.live()
    assert await place.erase() == Erased(pairs=21, outcomes=2, escalations=2, traces=4, waiting=1)
    pairs, _ = await PairArchive(client, place.sealer).pairs(place.route, limit=500)
    assert {pair["key_hash"] for pair in pairs} == {key_hash(JOHN)}
    assert await ask(client, "EXISTS", keys.anew(keys.pairs(place.route))) == 0
    keeper = Keeper(RetentionStore(client), place.erasures, Metrics(process=False), place.clock, lambda: True)
    keeper.set_rules(place.rules)
    await keeper.round()
    await client.aclose()


# By the process


def eraser(place: Place, *, routes: tuple[str, ...] = ("refunds",), own_store: bool = False) -> tuple[Eraser, Metrics]:
    rollout = {"agent": "a", "version": "v1", "salt": SALT, "key": [{"header": "x-user"}]}
    found: list[dict[str, Any]] = [
        {"name": name, "legacy": "human", "match": {"path_prefix": f"/{name}"}} for name in routes
    ]
    for route in found:
        if route["name"] != "plain":
            route["rollout"] = rollout
    upstreams = {name: {"url": "http://127.0.0.1:1"} for name in ("human", "a")}
    config = Config.model_validate({"upstreams": upstreams, "routes": found})
    metrics = Metrics(process=False)
    return Eraser(place.erasures, lambda: config, metrics, place.clock, own_store=own_store), metrics


async def test_a_person_is_erased_under_each_salt_and_on_each_route(redis: Any) -> None:
    place = Place(redis)
    await place.write(place.of(JANE, 1), place.of(JANE, 2, salt="older"), place.of(JOHN, 3))
    worker, metrics = eraser(place, routes=("refunds", "claims", "plain"))
    with capture_logs() as logs:
        done = await worker.erase(JANE.encode(), route=None, salts=["older"], actor="ana", reason="ticket 12")
    assert done["erased"]["refunds"]["pairs"] == 2
    assert done["erased"]["claims"]["pairs"] == 0
    assert "plain" not in done["erased"]
    assert FILES in done["not_erased"]
    assert metrics._counters[ERASED.name][("refunds",)] == 2
    line = next(line for line in logs if line["event"] == "person_erased" and line["route"] == "refunds")
    assert line["of"] == [digest(each)[:16] for each in sorted({key_hash(JANE), key_hash(JANE, "older")})]
    assert (line["actor"], line["reason"], line["pairs"]) == ("ana", "ticket 12", 2)
    said = repr(logs) + repr(done)
    for secret in (JANE, key_hash(JANE), key_hash(JANE, "older")):
        assert secret not in said


async def test_a_route_that_is_gone_is_searched_with_its_salt(redis: Any) -> None:
    place = Place(redis)
    await place.write(place.of(JANE, 1))
    worker, _ = eraser(place, routes=("claims",))
    with pytest.raises(KeyError):
        await worker.erase(JANE.encode(), route="refunds", salts=[], actor="ana", reason="")
    done = await worker.erase(JANE.encode(), route="refunds", salts=[SALT], actor="ana", reason="")
    assert done["erased"] == {"refunds": Erased(pairs=1)._asdict()}


async def test_foreign_keys_of_one_route_keep_nobody_on_the_others(redis: Any) -> None:
    place = Place(redis)
    await place.write(place.of(JANE, 1))
    await redis.set(keys.erased("claims"), "of somebody else")
    worker, _ = eraser(place, routes=("claims", "refunds"))
    done = await worker.erase(JANE.encode(), route=None, salts=[], actor="ana", reason="")
    assert "should be a hash" in done["erased"]["claims"]["error"]
    assert done["erased"]["refunds"]["pairs"] == 1


async def test_a_store_of_our_own_is_left_without_a_trace_on_the_disk(redis: Any, valkey: Valkey) -> None:
    place = Place(redis, sealed=False)
    await place.live()
    directory = (await redis.config_get("dir"))["dir"]
    await redis.config_set("rdbcompression", "no")
    assert JANE.encode() in await asyncio.to_thread(on_disk, directory)
    worker, _ = eraser(place, own_store=True)
    done = await worker.erase(JANE.encode(), route=None, salts=[], actor="ana", reason="")
    assert FILES not in done["not_erased"]
    async with asyncio.timeout(20):
        while JANE.encode() in await asyncio.to_thread(on_disk, directory):  # the server removes its old file later
            await asyncio.sleep(0.05)
    left = await asyncio.to_thread(on_disk, directory)
    assert key_hash(JANE).encode() not in left
    assert JOHN.encode() in left


def on_disk(directory: str) -> bytes:
    found = [path for path in Path(directory).rglob("*") if path.is_file()]
    return b"\n".join(path.read_bytes() for path in found)
