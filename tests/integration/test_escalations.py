"""Escalations on a real admin server: the signed page, and what viewers list."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from proxy.admin.app import create_app, start
from proxy.admin.auth import Tokens
from proxy.admin.escalations import LONGEST_LOOK, MAX_LOOKS, EscalationApi
from proxy.cli.main import crossfade
from proxy.model.errors import StoreUnavailableError
from proxy.outcomes.escalation import REASONS, summary
from proxy.routing.link import link, sign
from proxy.telemetry.metrics import Metrics
from tests.fakes import FakeClock
from tests.integration.admin_world import ScriptedHistory, ScriptedOperations, ScriptedPairs, tokens_file
from tests.integration.escalation_world import pair

SECRET = "0123456789abcdef"
LIST = "/api/v1/routes/refunds/escalations"
ONE = "/api/v1/escalations/refunds/e1"


class ScriptedEscalations:
    """`EscalationReader` over a few; remembers what it was asked."""

    def __init__(self) -> None:
        self.kept = {"e1": {"id": "refunds.1-0", **pair(1)}}
        self.asked: list[tuple[str, str | None, str | None, int]] = []
        self.away = False

    async def escalations(
        self, route: str, *, reason: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[list[dict[str, Any]], str | None]:
        if reason is not None and reason not in REASONS:
            raise ValueError(f"{reason!r} is no reason")
        self.asked.append((route, reason, before, limit))
        return [summary(route, name, kept) for name, kept in self.kept.items()], "1-0"

    async def escalation(self, route: str, escalation_id: str) -> dict[str, Any] | None:
        if self.away:
            raise StoreUnavailableError("the store does not answer")
        kept = self.kept.get(escalation_id) if route == "refunds" else None
        return {**summary(route, escalation_id, kept), "pair": kept} if kept is not None else None


class Answer:
    def __init__(self, status: int, text: str, headers: dict[str, str]) -> None:
        self.status, self.text, self.headers = status, text, headers


class World:
    def __init__(self) -> None:
        self.escalations, self.clock, self.secret = ScriptedEscalations(), FakeClock(), SECRET
        self.base = ""
        self.session = aiohttp.ClientSession()

    async def open(self, tokens: Tokens | None) -> web.AppRunner:
        operations = ScriptedOperations()
        api = EscalationApi(operations, self.escalations, lambda: self.secret, self.clock)
        app = create_app(
            operations, ScriptedPairs(), Metrics(process=False), ScriptedHistory(), tokens=tokens, escalations=api
        )
        runner = await start(app, "127.0.0.1", 0)
        self.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def link(self, escalation_id: str = "e1", *, valid: float = 60.0, route: str = "refunds", **query: str) -> str:
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return link("", self.secret, route, escalation_id, int(self.clock.now() + valid)) + more

    async def get(self, path: str, **headers: str) -> Answer:
        async with self.session.get(self.base + path, headers=headers) as response:
            return Answer(response.status, await response.text(), {k.lower(): v for k, v in response.headers.items()})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """With tokens, as it is wherever other machines reach it."""
    world = World()
    runner = await world.open(Tokens(tokens_file(tmp_path)))
    yield world
    await world.session.close()
    await runner.cleanup()


@pytest.fixture
async def open_world() -> AsyncIterator[World]:
    """Without tokens."""
    world = World()
    runner = await world.open(None)
    yield world
    await world.session.close()
    await runner.cleanup()


VIEWER = {"authorization": "Bearer red"}


async def test_a_signed_link_shows_the_page_to_whoever_has_it(world: World) -> None:
    answer = await world.get(world.link())
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "Handed over: the agent did not answer in time" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in answer.headers["content-security-policy"]


async def test_so_does_a_viewer_s_token(world: World) -> None:
    assert (await world.get("/escalations/refunds/e1", **VIEWER)).status == 200
    assert (await world.get("/escalations/refunds/e1")).status == 401


async def test_a_view_is_logged_without_its_signature(world: World) -> None:
    with capture_logs() as logged:
        await world.get(world.link())
        await world.get("/escalations/refunds/e1", **VIEWER)
    signature = sign(SECRET, "refunds", "e1", int(world.clock.now() + 60))
    views = [line for line in logged if line["event"] == "escalation_viewed"]
    assert [(line["id"], line["route"], line["by"]) for line in views] == [
        ("e1", "refunds", "link"),
        ("e1", "refunds", "ana"),
    ]
    assert signature not in str(logged)


async def test_an_expired_link_is_told_apart(world: World) -> None:
    path = world.link()
    world.clock.advance(61)
    answer = await world.get(path)
    assert answer.status == 410
    assert "This link has expired" in answer.text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("e1?", "e2?"), ("refunds/", "claims/"), ("expires=1", "expires=2"), ("signature=", "signature=0"),
        ("&signature=", "&sig="), ("expires=", "expires=%D9%A1"), ("expires=", "expires=-"),
        ("expires=", "expires=" + "9" * 5_000), ("?expires=", "?exp="), ("signature=", "signature=%F0%9F%98%80"),
    ],
)  # fmt: skip
async def test_a_link_that_is_not_ours_is_refused(world: World, old: str, new: str) -> None:
    path = world.link()
    assert old in path
    with capture_logs() as logged:
        answer = await world.get(path.replace(old, new))
    assert answer.status == 403
    assert "This link does not work" in answer.text
    assert "order-1" not in answer.text
    assert [line["event"] for line in logged] == ["escalation_link_refused"]


async def test_a_link_opens_nothing_else(world: World) -> None:
    query = world.link().partition("?")[2]
    for path in ("/api/v1/routes", ONE, LIST, "/api/v1/pairs/refunds.1-0"):
        assert (await world.get(f"{path}?{query}")).status == 401


async def test_with_a_token_beside_it_a_bad_link_is_still_refused(world: World) -> None:
    assert (await world.get("/escalations/refunds/e1?signature=0", **VIEWER)).status == 403


async def test_a_new_secret_ends_the_links_of_the_old_one(world: World) -> None:
    path = world.link()
    world.secret = "another secret, as long"
    assert (await world.get(path)).status == 403
    world.secret = ""
    assert (await world.get(path)).status == 403
    assert (await world.get(world.link())).status == 403, "what an empty secret signs is nothing"


async def test_under_any_name_a_link_works_and_nothing_else_does(open_world: World) -> None:
    """Without tokens this side answers to localhost alone: what leads here from outside must be signed."""
    outside = {"host": "crossfade.example.com"}
    assert (await open_world.get(open_world.link(), **outside)).status == 200
    assert (await open_world.get("/escalations/refunds/e1", **outside)).status == 403
    assert (await open_world.get("/escalations/refunds/e1?signature=0", **outside)).status == 403
    assert (await open_world.get(ONE, **outside)).status == 403
    assert (await open_world.get("/escalations/refunds/e1")).status == 200


async def test_before_its_record_is_there_the_page_says_so_and_looks_again(world: World) -> None:
    answer = await world.get(world.link("e2"))
    assert answer.status == 404
    assert "Its record has not arrived yet" in answer.text
    assert '<meta http-equiv="refresh" content="1;url=?expires=' in answer.text
    assert "&amp;again=1" in answer.text
    assert answer.headers["retry-after"] == "1"
    world.escalations.kept["e2"] = {"id": "refunds.2-0", **pair(2)}
    answer = await world.get(world.link("e2", again="1"))
    assert answer.status == 200
    assert "order-2" in answer.text
    assert "refresh" not in answer.text


@pytest.mark.parametrize(
    ("again", "looks"),
    [("5", True), (str(MAX_LOOKS - 1), True), (str(MAX_LOOKS), False), ("x", False), ("9" * 50, False)],
)
async def test_it_does_not_look_for_ever(world: World, again: str, looks: bool) -> None:
    answer = await world.get(world.link("e2", again=again))
    assert answer.status == 404
    assert ("refresh" in answer.text) is looks
    if looks:
        assert int(answer.headers["retry-after"]) <= LONGEST_LOOK


async def test_while_the_store_is_away_it_says_so_and_looks_again(world: World) -> None:
    world.escalations.away = True
    answer = await world.get(world.link())
    assert answer.status == 503
    assert "The store does not answer just now" in answer.text
    assert "refresh" in answer.text


async def test_viewers_list_them(world: World) -> None:
    answer = await world.get(f"{LIST}?reason=timeout&before=5-0&limit=3", **VIEWER)
    assert answer.status == 200
    assert '"next":"1-0"' in answer.text
    assert '"detail":"no answer within 20 s"' in answer.text
    assert world.escalations.asked == [("refunds", "timeout", "5-0", 3)]
    assert (await world.get(LIST)).status == 401


@pytest.mark.parametrize("query", ["reason=because", "reason=A%20B", "before=now", "limit=0", "limit=501", "more=1"])
async def test_a_query_that_is_wrong_is_refused(world: World, query: str) -> None:
    answer = await world.get(f"{LIST}?{query}", **VIEWER)
    assert answer.status == 422
    assert '"error":"invalid_query"' in answer.text


async def test_one_with_all_that_is_known(world: World) -> None:
    answer = await world.get(ONE, **VIEWER)
    assert answer.status == 200
    assert '"amount":42' in answer.text
    missing = await world.get("/api/v1/escalations/refunds/e9", **VIEWER)
    assert missing.status == 404
    assert '"error":"no_escalation"' in missing.text
    assert (await world.get("/api/v1/routes/claims/escalations", **VIEWER)).status == 404


async def test_the_commands_ask_for_the_same(world: World) -> None:
    async def run(*arguments: str) -> Result:
        environment = {"CROSSFADE_ADMIN": world.base, "CROSSFADE_TOKEN": "red"}
        return await asyncio.to_thread(CliRunner().invoke, crossfade, arguments, env=environment)

    listed = await run("escalations", "refunds", "--reason", "timeout", "--limit", "1")
    assert listed.exit_code == 0, listed.output
    assert "no answer within 20 s" in listed.stdout
    assert world.escalations.asked == [("refunds", "timeout", None, 1)]
    whole = await run("escalation", "refunds", "e1")
    assert "POST /refunds" in whole.stdout
    assert orjson.loads((await run("escalation", "refunds", "e1", "--json")).stdout)["pair"]["request_id"] == "r1"
    assert orjson.loads((await run("escalations", "refunds", "--limit", "1", "--json")).stdout)["id"] == "e1"
    missing = await run("escalation", "refunds", "e9")
    assert (missing.exit_code, missing.stderr.strip()) == (
        1,
        "crossfade: no escalation 'e9' of the route 'refunds' is kept",
    )
    assert (await run("escalations", "refunds", "--reason", "because")).exit_code == 2
