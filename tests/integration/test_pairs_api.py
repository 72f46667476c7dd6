"""Pairs by the admin API, over a real server and a real store: nothing of an open one is given away; exports."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from proxy.admin import pairs as pairs_api
from proxy.admin.app import create_app, start
from proxy.admin.auth import Tokens
from proxy.model.errors import StoreUnavailableError
from proxy.model.rollouts import Batch, Kept
from proxy.storage import keys
from proxy.storage.connection import Client, connect
from proxy.storage.pairs import PairStore
from proxy.storage.reading import PairArchive
from proxy.telemetry.metrics import Metrics
from tests.integration.admin_world import ScriptedHistory, ScriptedOperations, ScriptedPairs, ScriptedSteps, tokens_file
from tests.valkey import Valkey

VIEWER = {"authorization": "Bearer red"}
OPERATOR = {"authorization": "Bearer blue"}
SECRET = "what-the-agent-said"


class Desk:
    """The API with tokens, and a client in front."""

    def __init__(self, redis: Client, folder: Path) -> None:
        self.redis, self.store = redis, PairStore(redis)
        self.archive: Any = PairArchive(redis)
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))
        self._tokens, self._seq = Tokens(tokens_file(folder)), 0
        self._runner: web.AppRunner | None = None
        self.base = ""

    async def open(self) -> None:
        app = create_app(
            ScriptedOperations(), self.archive, Metrics(process=False), ScriptedHistory(),
            tokens=self._tokens, steps=ScriptedSteps(),
        )  # fmt: skip
        self._runner = await start(app, "127.0.0.1", 0)
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}/api/v1"

    async def close(self) -> None:
        await self.session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def keep(self, count: int, verdict: str = "matched", size: int = 0) -> None:
        self._seq += 1
        kept = [self._pair(n, verdict, size) for n in range(count)]
        await self.store.write([Batch("refunds", "w1", self._seq, pairs=tuple(kept))])

    def _pair(self, n: int, verdict: str, size: int) -> Kept:
        document = {
            "route": "refunds", "trace_id": "0" * 32, "seq": self._seq, "n": n, "verdict": verdict,
            "agent": {"decision": SECRET, "body": "x" * size}, "differences": [{"path": "$", "agent": SECRET}],
            "repeat": None, "steps": [], "legacy": {"status": 202, "decision": None},
        }  # fmt: skip
        pending = verdict == "pending"
        if pending:
            document["pending"] = {"until": "2027-01-01T00:00:00.000Z", "unfit": ""}
        return Kept(verdict, orjson.dumps(document), refs=(f"r{self._seq}.{n}",) if pending else (), until=2e9)

    async def get(self, path: str, headers: dict[str, str] = VIEWER) -> tuple[int, Any]:
        async with self.session.get(self.base + path, headers=headers) as response:
            return response.status, await response.json()

    async def export(self, query: str = "", headers: dict[str, str] = VIEWER) -> list[Any]:
        async with self.session.get(f"{self.base}/routes/refunds/pairs/export{query}", headers=headers) as response:
            assert response.status == 200, await response.text()
            assert response.content_type == "application/x-ndjson"
            return [orjson.loads(line) for line in (await response.read()).splitlines()]


@pytest.fixture
async def desk(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Desk]:
    redis = connect(valkey.url, timeout=2.0)
    desk = Desk(redis, tmp_path)
    await desk.open()
    yield desk
    await desk.close()
    await redis.aclose()


# Before the human has decided


async def test_nothing_of_the_agents_is_shown_of_an_open_pair(desk: Desk) -> None:
    await desk.keep(2, "pending")
    _, page = await desk.get("/routes/refunds/pairs")
    _, filtered = await desk.get("/routes/refunds/pairs?verdict=pending")
    _, pair = await desk.get(f"/pairs/{page['pairs'][0]['id']}")
    exported = await desk.export("?steps=true")
    for shown in (*page["pairs"], *filtered["pairs"], pair, *exported):
        assert SECRET not in str(shown)
        assert "refund" not in str(shown["steps"])
        assert shown["hidden"] == "the human has not decided yet"
    assert (len(page["pairs"]), len(filtered["pairs"]), len(exported)) == (2, 2, 2)


async def test_operators_may_see_it_and_that_is_logged(desk: Desk) -> None:
    await desk.keep(1, "pending")
    _, page = await desk.get("/routes/refunds/pairs")
    pair_id = page["pairs"][0]["id"]
    paths = ("/routes/refunds/pairs?reveal=true", f"/pairs/{pair_id}?reveal=true")
    with capture_logs() as logs:
        for path in paths:
            _, shown = await desk.get(path, OPERATOR)
            assert SECRET in str(shown)
        assert SECRET in str(await desk.export("?reveal=true&steps=true", OPERATOR))
    revealed = [(entry["of"], entry["actor"]) for entry in logs if entry["event"] == "open_pairs_revealed"]
    assert revealed == [("refunds", "bo"), (pair_id, "bo"), ("refunds", "bo")]
    assert SECRET not in str(logs)
    for path in (*paths, "/routes/refunds/pairs/export?reveal=true"):
        status, refusal = await desk.get(path)
        assert (status, refusal["error"]) == (403, "forbidden")


async def test_once_it_is_decided_all_is_shown_with_the_steps(desk: Desk) -> None:
    await desk.keep(1, "mismatched")
    _, page = await desk.get("/routes/refunds/pairs")
    _, pair = await desk.get(f"/pairs/{page['pairs'][0]['id']}")
    assert page["pairs"][0]["agent"]["decision"] == pair["agent"]["decision"] == SECRET
    assert (pair["steps"][0]["name"], pair["step_totals"]["writes"]) == ("refund", 1)
    assert [each["steps"] for each in await desk.export()] == [[]]
    assert [len(each["steps"]) for each in await desk.export("?steps=true")] == [1]


# Exports


async def test_an_export_has_each_pair_once_oldest_first(desk: Desk) -> None:
    assert await desk.export() == []
    await desk.keep(120)
    await desk.keep(1, "mismatched")
    await desk.keep(120)
    exported = await desk.export()
    assert [(each["seq"], each["n"]) for each in exported] == [
        *((1, n) for n in range(120)), (2, 0), *((3, n) for n in range(120)),
    ]  # fmt: skip
    assert [each["seq"] for each in await desk.export("?verdict=mismatched")] == [2]


async def test_it_goes_on_after_a_pair_and_begins_at_a_time(desk: Desk) -> None:
    await desk.keep(60)
    whole = await desk.export()
    assert await desk.export(f"?after={whole[9]['id']}") == whole[10:]
    assert await desk.export(f"?since=1d&after={whole[9]['id']}") == whole[10:]
    assert await desk.export(f"?after={whole[-1]['id']}") == []
    assert await desk.export("?since=7d") == whole
    assert await desk.export("?since=2099-01-01T00:00:00Z") == []
    assert await desk.export("?since=2020-01-01T00:00:00%2B02:00") == whole


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("since=yesterday", "since: must be a duration such as 7d, or a time such as"),
        ("since=2020-01-01T00:00:00", "since: must be a duration such as 7d, or a time such as"),
        ("after=claims.1-0", "after: 'claims.1-0' is no id of a pair of refunds"),
        ("after=1", "after: '1' is no id of a pair of refunds"),
        ("verdict=passed", "verdict: "),
        ("untill=1d", "untill: is not known here"),
    ],
)
async def test_a_query_that_is_wrong_is_refused(desk: Desk, query: str, said: str) -> None:
    status, refusal = await desk.get(f"/routes/refunds/pairs/export?{query}")
    assert (status, refusal["error"]) == (422, "invalid_query")
    assert refusal["detail"].startswith(said)


async def test_of_a_route_that_there_is_not_there_is_no_export(desk: Desk) -> None:
    status, refusal = await desk.get("/routes/nothing/pairs/export")
    assert (status, refusal["error"]) == (404, "no_route")


async def test_it_tells_its_span_and_is_answered_as_everything_else(desk: Desk) -> None:
    await desk.keep(3)
    async with desk.session.get(f"{desk.base}/routes/refunds/pairs/export", headers=VIEWER) as response:
        lines = (await response.read()).splitlines()
        assert response.headers["x-crossfade-last"] == orjson.loads(lines[-1])["id"]
        assert response.headers["x-crossfade-first"] < orjson.loads(lines[0])["id"]
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-request-id"]
    status, _ = await desk.get("/routes/refunds/pairs/export", {})
    assert status == 401


async def test_it_waits_for_who_reads_it_and_ends_when_they_leave(desk: Desk) -> None:
    for _ in range(10):
        await desk.keep(50, size=20_000)  # ten megabytes: more than the sockets hold
    pages = 0
    following = desk.archive.following

    async def counted(*args: Any, **options: Any) -> Any:
        nonlocal pages
        pages += 1
        return await following(*args, **options)

    desk.archive.following = counted
    with capture_logs() as logs:
        response = await desk.session.get(f"{desk.base}/routes/refunds/pairs/export", headers=VIEWER)
        await response.content.readexactly(1_000)
        before = -1
        while pages != before:  # until it waits
            before = pages
            await asyncio.sleep(0.2)
        assert pages < 11
        response.close()
        async with asyncio.timeout(10):
            while not any(entry["event"] == "export_left" for entry in logs):  # nothing else tells of it
                await asyncio.sleep(0.01)
    assert pages < 11
    desk.archive.following = following
    assert len(await desk.export()) == 500


async def test_one_that_breaks_off_does_not_look_whole(valkey: Valkey, tmp_path: Path) -> None:
    redis = connect(valkey.url, timeout=2.0)
    desk = Desk(redis, tmp_path)
    desk.archive = scripted = ScriptedPairs()
    scripted.kept = [{"id": f"refunds.{n}-0"} for n in range(9, 0, -1)]
    scripted.broken = (2, StoreUnavailableError("it went away"))
    await desk.open()
    with capture_logs() as logs, pytest.raises(aiohttp.ClientPayloadError):
        await desk.export()
    assert [entry["event"] for entry in logs] == ["export_broken_off"]
    scripted.failure = StoreUnavailableError("it is away")
    status, refusal = await desk.get("/routes/refunds/pairs/export")
    assert (status, refusal["error"]) == (503, "store_unavailable")
    await desk.close()
    await redis.aclose()


async def test_no_more_exports_than_the_bound_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs_api, "MAX_EXPORTS", 1)
    for _ in range(10):
        await desk.keep(50, size=20_000)
    first = await desk.session.get(f"{desk.base}/routes/refunds/pairs/export", headers=VIEWER)
    status, refusal = await desk.get("/routes/refunds/pairs/export")
    assert (status, refusal["error"]) == (429, "too_many_exports")
    await first.read()
    assert len(await desk.export()) == 500


async def test_a_pair_that_is_gone_meanwhile_costs_only_itself(desk: Desk) -> None:
    await desk.keep(3)
    whole = await desk.export()
    await desk.redis.xdel(keys.pairs("refunds"), whole[1]["id"].partition(".")[2])
    assert await desk.export() == [whole[0], whole[2]]
