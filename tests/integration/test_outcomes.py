"""Late decisions by the API and by the commands, before a real store: what is accepted is there, the rest is told."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import structlog
from aiohttp import web
from click.testing import CliRunner, Result

from proxy.admin.app import create_app, start
from proxy.admin.auth import Tokens
from proxy.admin.outcomes import MAX_BYTES, MAX_OUTCOMES
from proxy.cli.main import crossfade
from proxy.storage import keys, late, late_scripts, scripts
from proxy.storage.connection import connect
from proxy.telemetry.metrics import Metrics
from tests.integration.admin_world import ScriptedHistory, ScriptedOperations, ScriptedPairs
from tests.unit.control.late_world import World
from tests.valkey import Cluster, Valkey

PATH = "/api/v1/outcomes"
GOOD = {"route": "refunds", "case": "c1", "decision": "approve", "decided_at": "2027-01-15T08:00:01Z"}


class Api:
    def __init__(self, world: World, base: str) -> None:
        self.world, self.base = world, base

    async def post(self, body: Any, **headers: str) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        headers = {"content-type": "application/json", **headers}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.base + PATH, data=io.BytesIO(data), headers=headers) as response,
        ):
            return response.status, await response.json()

    async def send(self, *outcomes: Any, **headers: str) -> tuple[int, Any]:
        return await self.post({"outcomes": outcomes}, **headers)

    async def run(self, *arguments: str, stdin: bytes = b"") -> Result:
        environment = {"CROSSFADE_ADMIN": self.base}
        return await asyncio.to_thread(CliRunner().invoke, crossfade, arguments, stdin, env=environment)


Opened = Callable[..., Awaitable[Api]]


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    runners: list[web.AppRunner] = []

    async def open_(world: World, tokens: Tokens | None = None) -> Api:
        app = create_app(
            ScriptedOperations(), ScriptedPairs(), Metrics(process=False), ScriptedHistory(), tokens=tokens,
            decisions=world.intake,
        )  # fmt: skip
        runners.append(await start(app, "127.0.0.1", 0))
        host, port = runners[-1].addresses[0][:2]
        return Api(world, f"http://{host}:{port}")

    with structlog.testing.capture_logs():
        yield open_
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Any]:
    client = connect(valkey.url, timeout=1.0, connect_timeout=0.5)
    yield client
    await client.aclose()


@pytest.fixture
async def api(redis: Any, opened: Opened) -> Api:
    return await opened(World(redis))


async def test_what_is_accepted_closes_its_pair(api: Api) -> None:
    await api.world.open()
    assert await api.send(GOOD) == (200, {"accepted": 1, "rejected": []})
    await api.world.join()
    assert await api.world.verdicts() == ["matched"]


async def test_each_is_checked_by_itself(api: Api) -> None:
    bad = [
        ({}, "route: Field required"),
        ("banana", "Input should be a valid dictionary or instance of OutcomeBody"),
        (GOOD | {"route": "nowhere"}, "route: there is no such route with a rollout"),
        (GOOD | {"request_id": "r1"}, "give either case or request_id"),
        ({name: GOOD[name] for name in ("route", "decision")}, "give either case or request_id"),
        (GOOD | {"case": True}, "case"),
        (GOOD | {"case": ""}, "case is no text of 1 to 256 characters, nor a whole number"),
        (GOOD | {"case": 1.5}, "case"),
        (GOOD | {"decided_at": 1_800_000_000}, "decided_at is no time; write it as 2026-11-22T08:00:00Z"),
        (GOOD | {"decided_at": "1800000000"}, "decided_at is no time; write it as 2026-11-22T08:00:00Z"),
        (GOOD | {"decided_at": "2027-01-15T08:00:01"}, "decided_at: Input should have timezone info"),
        (GOOD | {"decided_at": "2027-01-15T09:00:00Z"}, "decided_at: lies in the future; it is 2027-01-15T08:00:00"),
        (GOOD | {"decided_at": "1970-01-01T00:00:00Z"}, "decided_at lies before the year 2000"),
        (GOOD | {"decision": "x" * 5000}, "decision: takes more than 4096 bytes"),
        (GOOD | {"decision": orjson.loads("[" * 70 + "]" * 70)}, "decision: takes more than 4096 bytes, or is nested"),
        (GOOD | {"by": "a\nb"}, "by: String should match pattern"),
        (GOOD | {"colour": "red"}, "colour: is not known here; known are by, case, decided_at, decision, request_id"),
    ]  # fmt: skip
    outcomes = [outcome for each, _ in bad for outcome in (each, GOOD)]
    status, answer = await api.send(*outcomes)
    assert (status, answer["accepted"]) == (200, len(bad))
    assert [each["index"] for each in answer["rejected"]] == [2 * n for n in range(len(bad))]
    for each, (_, said) in zip(answer["rejected"], bad, strict=True):
        assert each["error"].startswith(said), each
    assert await api.world.waiting() == len(bad)


async def test_a_number_beyond_64_bits_is_no_decision(api: Api) -> None:
    body = b'{"outcomes": [{"route": "refunds", "case": "c", "decision": 1%s}]}' % (b"0" * 40)
    status, answer = await api.post(body)
    assert (status, answer["accepted"]) == (200, 0)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"banana", ""),
        (b"[]", ""),
        (b"{}", "outcomes"),
        ({"outcomes": []}, "outcomes"),
        ({"outcomes": {}}, "outcomes"),
        ({"outcomes": [GOOD] * (MAX_OUTCOMES + 1)}, "outcomes"),
        ({"outcomes": [GOOD], "more": 1}, "more"),
    ],
)
async def test_a_body_that_is_none_is_refused_whole(api: Api, body: Any, path: str) -> None:
    status, answer = await api.post(body)
    assert (status, answer["error"], answer["path"]) == (422, "invalid_body", path)
    assert await api.world.waiting() == 0


async def test_a_whole_batch_fits_and_no_more_bytes_than_are_told(api: Api) -> None:
    status, answer = await api.send(*[GOOD | {"decision": "x" * 700}] * MAX_OUTCOMES)
    assert (status, answer) == (200, {"accepted": MAX_OUTCOMES, "rejected": []})
    status, answer = await api.post(b" " * (MAX_BYTES + 1))
    assert (status, answer["error"]) == (413, "body_too_large")


async def test_a_batch_sent_again_says_nothing_new(api: Api) -> None:
    await api.world.open()
    for _ in range(3):
        await api.send(GOOD, GOOD)
    await api.world.join()
    assert api.world.results() == {"matched": 1, "duplicate": 5}


async def test_a_full_inbox_refuses_the_rest_and_says_which(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    smaller = late_scripts.PUT.replace(str(scripts.MAX_WAITING), "3")
    assert smaller != late_scripts.PUT
    monkeypatch.setattr(late, "PUT", smaller)
    bad = GOOD | {"case": ""}
    status, answer = await api.send(GOOD, bad, GOOD, GOOD, GOOD, GOOD)
    assert (status, answer["accepted"]) == (200, 3)
    assert [(each["index"], each["error"][:8]) for each in answer["rejected"]] == [
        (1, "case is "), (4, "too many"), (5, "too many"),
    ]  # fmt: skip
    assert await api.world.waiting() == 3


async def test_with_the_store_away_nothing_is_accepted(api: Api, valkey: Valkey) -> None:
    valkey.kill()
    status, answer = await api.send(GOOD, GOOD | {"case": ""})
    assert (status, answer["error"]) == (503, "store_unavailable")


async def test_what_is_not_ours_in_the_store_is_told_to_the_sender_and_not_overwritten(api: Api, redis: Any) -> None:
    await redis.set(keys.outcomes("refunds"), "banana")
    status, answer = await api.send(GOOD)
    assert (status, answer["accepted"]) == (200, 0)
    assert answer["rejected"][0]["error"].startswith("the store holds what is not Crossfade's")
    assert await redis.get(keys.outcomes("refunds")) == b"banana"


async def test_a_route_without_pending_waits_for_nothing(redis: Any, opened: Opened) -> None:
    world = World(redis)
    refunds = world.rules["refunds"]
    world.rules["plain"] = refunds._replace(rules=replace(refunds.rules, waiting=None))
    api = await opened(world)
    _, answer = await api.send(GOOD | {"route": "plain"})
    assert answer["rejected"] == [{"index": 0, "error": "route: it waits for no decisions; its rollout has no pending"}]


async def test_a_reporter_reports_and_does_nothing_else(redis: Any, opened: Opened, tmp_path: Path) -> None:
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("viewer", "operator", "reporter")}
    file = tmp_path / "tokens"
    file.write_text("".join(f"{name}-1 {name} sha256:{digest}\n" for name, digest in hashes.items()))
    file.chmod(0o600)
    api = await opened(World(redis), Tokens(file))
    bearer = {name: {"authorization": f"Bearer {name}"} for name in hashes}
    assert (await api.send(GOOD))[0] == 401
    assert (await api.send(GOOD, **bearer["viewer"]))[0] == 403
    assert (await api.send(GOOD, **bearer["operator"]))[0] == 200
    assert (await api.send(GOOD, **bearer["reporter"]))[0] == 200
    async with aiohttp.ClientSession(headers=bearer["reporter"]) as session:
        for path in ("/api/v1/routes", "/api/v1/routes/refunds/pairs", "/api/v1/config"):
            async with session.get(api.base + path) as response:
                assert response.status == 403
                detail = "the token 'reporter-1' may only report decisions; a viewer's or an operator's token is needed"
                assert (await response.json())["detail"] == detail
        async with session.post(api.base + "/api/v1/routes/refunds/abort", json={}) as response:
            assert response.status == 403
            assert (await response.json())["detail"].endswith("; an operator's token is needed")
    await api.world.open()
    await api.world.join()
    assert (await api.world.shown())[0]["revisions"][0]["by"] in ("operator-1", "reporter-1")


# The commands


async def test_a_case_is_closed_by_hand(api: Api) -> None:
    await api.world.open()
    result = await api.run(
        "outcomes", "close", "refunds", "--case", "c1", "--decision", "deny", "--at", "2027-01-15T08:00:00Z"
    )
    assert (result.exit_code, result.stdout) == (
        0, "accepted; it is joined to its pair in a moment, or when the pair comes\n",
    )  # fmt: skip
    await api.world.join()
    assert await api.world.verdicts() == ["mismatched"]


async def test_the_case_may_come_by_stdin_and_a_decision_may_be_no_text(api: Api) -> None:
    await api.world.open(case="c-77", agent=True)  # type: ignore[arg-type]  # JSON
    told = ("outcomes", "close", "refunds", "--case", "-", "--decision", "true", "--at", "2027-01-15T08:00:00Z")
    assert (await api.run(*told, stdin=b"c-77\n")).exit_code == 0
    await api.world.join()
    assert await api.world.verdicts() == ["matched"]


async def test_closing_needs_one_name(api: Api) -> None:
    assert (await api.run("outcomes", "close", "refunds", "--decision", "x")).exit_code == 2
    result = await api.run(
        "outcomes", "close", "nowhere", "--case", "c1", "--decision", "x", "--at", "2027-01-15T08:00Z"
    )
    assert (result.exit_code, result.stderr) == (1, "crossfade: route: there is no such route with a rollout\n")


async def test_a_file_is_sent_in_batches_and_what_is_refused_is_told_by_line(api: Api, tmp_path: Path) -> None:
    lines = [orjson.dumps(GOOD | {"case": f"c{n}"}) for n in range(2_500)]
    lines[3:3] = [b"", b"banana secret-4711"]
    lines[2_000] = orjson.dumps({"route": "refunds", "case": "secret-4711"})
    file = tmp_path / "decisions.jsonl"
    file.write_bytes(b"\n".join(lines))
    result = await api.run("outcomes", "send", str(file))
    assert (result.exit_code, result.stdout) == (1, "2499 accepted, 2 refused\n")
    assert result.stderr == "line 5: is no JSON\nline 2001: decision: Field required\n"
    assert await api.world.waiting() == 2_499
    result = await api.run("outcomes", "send", "-", stdin=orjson.dumps(GOOD))
    assert (result.exit_code, result.stdout) == (0, "1 accepted, 0 refused\n")


async def test_a_store_that_goes_away_tells_from_where_to_send_again(api: Api, valkey: Valkey) -> None:
    valkey.kill()
    result = await api.run("outcomes", "send", "-", stdin=orjson.dumps(GOOD))
    assert result.exit_code == 1
    assert "0 accepted, and from line 1 on send them again" in result.stderr


# In a Cluster


async def test_routes_of_a_cluster_lie_in_different_slots_and_their_decisions_are_joined(cluster: Cluster) -> None:
    client = connect(cluster.url)
    try:
        routes = [f"route-{n}" for n in range(6)]
        assert len({cluster.owner(keys.pairs(route)).port for route in routes}) > 1
        worlds = [World(client, route) for route in routes]
        for world in worlds:
            await world.tell("c1", "deny", at=1)
            await world.join()
            await world.open()
            await world.open("c2", "deny", request_id="r2")
            await world.tell("c1", "approve", at=2)
            await world.tell("c2", "approve", at=2)
            await world.tell("never", at=2)
        for world in worlds:
            for _ in range(2):
                await world.join()
            assert await world.verdicts() == ["matched", "mismatched"]
            seen = await world.evidence()
            assert (seen.matched, seen.mismatched) == (1, 1)
            world.clock.advance(15 * 86_400)
            await world.join()
            assert world.results()["unmatched"] == 1
    finally:
        await client.aclose()
