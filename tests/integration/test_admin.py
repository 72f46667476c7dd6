"""The admin API on a real server: what is asked, what must be answered."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from proxy.admin.app import create_app, start
from proxy.admin.auth import Tokens
from proxy.model.errors import ConfigError, ConflictError, StoreFormatError, StoreUnavailableError
from proxy.model.words import Verb
from proxy.telemetry.metrics import Metrics
from tests.integration.admin_world import PAIR, ROUTE, ScriptedHistory, ScriptedOperations, ScriptedPairs, tokens_file

REFUNDS = "/api/v1/routes/refunds"
JSON = {"content-type": "application/json"}


class World:
    """The API on a free port, the scripted parts behind it, and a client in front."""

    def __init__(self) -> None:
        self.operations, self.pairs, self.metrics = ScriptedOperations(), ScriptedPairs(), Metrics(process=False)
        self.base = ""
        self.session = aiohttp.ClientSession()

    async def open(self, *, tokens: Tokens | None = None, allowed_hosts: tuple[str, ...] = ()) -> web.AppRunner:
        app = create_app(
            self.operations,
            self.pairs,
            self.metrics,
            ScriptedHistory(),
            tokens=tokens,
            allowed_hosts=allowed_hosts,
        )
        runner = await start(app, "127.0.0.1", 0)
        host, port = runner.addresses[0][:2]
        self.base = f"http://{host}:{port}"
        return runner

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any, dict[str, str]]:
        async with self.session.request(method, self.base + path, **options) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status, await response.json(content_type=None), headers

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return (await self.ask("GET", path, headers=headers))[:2]

    async def post(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        return (await self.ask("POST", path, json=body if body is not None else {}, headers=headers))[:2]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    runner = await world.open()
    yield world
    await world.session.close()
    await runner.cleanup()


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[World]:
    """The same with tokens."""
    world = World()
    runner = await world.open(tokens=Tokens(tokens_file(tmp_path)))
    yield world
    await world.session.close()
    await runner.cleanup()


# Health and metrics


async def test_alive(world: World) -> None:
    assert await world.get("/livez") == (200, {"live": True})


async def test_ready_until_there_is_a_reason_against_it(world: World) -> None:
    assert await world.get("/readyz") == (200, {"ready": True})
    world.operations.reasons = ["worker 1 has no snapshot yet", "the store does not answer"]
    status, document = await world.get("/readyz")
    assert (status, document["error"]) == (503, "not_ready")
    assert document["reasons"] == ["worker 1 has no snapshot yet", "the store does not answer"]
    assert document["detail"] == "worker 1 has no snapshot yet; the store does not answer"


async def test_metrics_are_prometheus_text(world: World) -> None:
    world.metrics.store_up(True)
    async with world.session.get(world.base + "/metrics") as response:
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = {family.name: family for family in text_string_to_metric_families(await response.text())}
    assert families["crossfade_store_up"].samples[0].value == 1


async def test_metrics_are_open_metrics_where_asked(world: World) -> None:
    async with world.session.get(
        world.base + "/metrics", headers={"accept": "application/openmetrics-text"}
    ) as response:
        assert response.headers["content-type"].startswith("application/openmetrics-text")
        assert (await response.text()).endswith("# EOF\n")


# Routes and verbs


async def test_all_routes(world: World) -> None:
    status, document = await world.get("/api/v1/routes")
    assert status == 200
    assert [route["name"] for route in document["routes"]] == ["refunds", "plain"]


async def test_one_route(world: World) -> None:
    assert await world.get(REFUNDS) == (200, ROUTE)


async def test_a_verb_is_carried_out_and_answers_the_route(world: World) -> None:
    status, document = await world.post(f"{REFUNDS}/pause", {"reason": "strange answers", "actor": "mia"})
    assert (status, document["phase"], document["revision"]) == (200, "paused", 4)
    assert world.operations.commands == [("refunds", Verb.PAUSE, "mia", "strange answers", False)]


async def test_promote_may_go_to_the_end(world: World) -> None:
    await world.post(f"{REFUNDS}/promote", {"full": True})
    await world.post(f"{REFUNDS}/promote")
    assert [(verb, full) for _, verb, _, _, full in world.operations.commands] == [
        (Verb.PROMOTE, True),
        (Verb.PROMOTE, False),
    ]


@pytest.mark.parametrize("verb", list(Verb))
async def test_every_verb_has_its_path(world: World, verb: Verb) -> None:
    world.operations.documents["refunds"]["phase"] = "paused"
    status, _ = await world.post(f"{REFUNDS}/{verb}")
    assert status == 200
    assert [command[1] for command in world.operations.commands] == [verb]


async def test_a_verb_without_a_body_is_anonymous(world: World) -> None:
    status, _, _ = await world.ask("POST", f"{REFUNDS}/abort", headers=JSON)
    assert status == 200
    assert world.operations.commands == [("refunds", Verb.ABORT, "anonymous", "", False)]


async def test_a_verb_that_the_phase_forbids_says_which_are_allowed(world: World) -> None:
    status, document = await world.post(f"{REFUNDS}/resume")
    assert (status, document["error"]) == (409, "not_allowed")
    assert document["detail"] == "refunds is progressing; only a paused rollout resumes"
    assert document["allowed"] == ["promote", "pause", "abort"]


async def test_a_conflict_is_not_a_refusal(world: World) -> None:
    world.operations.failure = ConflictError("refunds was changed meanwhile", ("pause",))
    status, document = await world.post(f"{REFUNDS}/pause")
    assert (status, document["error"]) == (412, "conflict")


async def test_a_verb_on_a_route_without_rollout(world: World) -> None:
    status, document = await world.post("/api/v1/routes/plain/pause")
    assert (status, document["error"]) == (404, "no_rollout")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("POST", "/pause"),
        ("POST", "/explain"),
        ("GET", "/pairs"),
        ("GET", "/history"),
        ("GET", "/evidence"),
    ],
)
async def test_an_unknown_route(world: World, method: str, path: str) -> None:
    status, document, _ = await world.ask(method, f"/api/v1/routes/nowhere{path}", headers=JSON)
    assert (status, document["error"]) == (404, "no_route")
    assert document["detail"] == "the configuration has no route 'nowhere'"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"reason": 5}, "reason"),
        ({"reason": "two\nlines"}, "reason"),
        ({"reason": "x" * 1001}, "reason"),
        ({"actor": "x" * 129}, "actor"),
        ({"full": True}, "full"),  # goes with promote alone
        ({"reasons": "typo"}, "reasons"),
        ([], ""),
    ],
)
async def test_a_body_that_is_wrong_is_refused_with_its_path(world: World, body: object, path: str) -> None:
    status, document = await world.post(f"{REFUNDS}/pause", body)
    assert (status, document["error"], document["path"]) == (422, "invalid_body", path)
    assert world.operations.commands == []


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b'{"reason": "\\ud800"}'])
async def test_a_body_that_is_no_json(world: World, data: bytes) -> None:
    status, document, _ = await world.ask("POST", f"{REFUNDS}/pause", data=data, headers=JSON)
    assert (status, document["error"]) == (422, "invalid_body")


async def test_a_body_that_is_too_large(world: World) -> None:
    status, document = await world.post(f"{REFUNDS}/pause", {"reason": "x" * (80 << 10)})
    assert (status, document["error"]) == (413, "body_too_large")


async def test_history_is_newest_first_in_documents(world: World) -> None:
    status, document = await world.get(f"{REFUNDS}/history")
    assert status == 200
    assert [(event["kind"], event["after"]) for event in document["events"]] == [
        ("advance", {"phase": "progressing", "stage": "canary", "weight": 5.0})
    ]


async def test_evidence_of_every_stage_that_is_kept(world: World) -> None:
    status, document = await world.get(f"{REFUNDS}/evidence")
    canary, shadow, before = document["evidence"]
    assert status == 200
    assert (canary["version"], canary["epoch"], canary["stage"]) == ("2026-11-22", 2, "canary")
    assert canary["totals"]["agent"] == {"requests": 50, "failed": 2, "slow": 0}
    assert [segment["name"] for segment in canary["segments"]] == ["broken", "late"]
    assert (shadow["agreement"]["matched"], before["version"], before["agreement"]["matched"]) == (20, "2026-10-01", 10)
    assert len((await world.get(f"{REFUNDS}/evidence?limit=1"))[1]["evidence"]) == 1


# Explain

KEY = "alice@example.com"


async def test_why_a_user_gets_an_arm(world: World) -> None:
    status, document = await world.post(f"{REFUNDS}/explain", {"key": KEY})
    assert (status, world.operations.keys) == (200, [KEY.encode()])
    assert document["now"] == {
        "stage": "canary",
        "weight": 5.0,
        "arm": "legacy",
        "mode": "legacy",
        "reason": "bucket_out",
        "sentence": f"bucket {document['bucket']:,} is not below 5,000 (5 %), so legacy serves",
    }
    assert [(at["stage"], at["arm"]) for at in document["stages"]] == [
        ("shadow", "legacy"),
        ("canary", "legacy"),
        ("half", "agent" if document["bucket"] < 50_000 else "legacy"),
    ]


@pytest.mark.parametrize(
    ("body", "key"), [({"key": "é"}, "é".encode()), ({"key": ""}, b""), ({"key_base64": "6Q=="}, b"\xe9")]
)
async def test_a_key_is_text_or_bytes(world: World, body: object, key: bytes) -> None:
    assert (await world.post(f"{REFUNDS}/explain", body))[0] == 200
    assert world.operations.keys == [key]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "give either key (text) or key_base64 (bytes)"),
        ({"key": KEY, "key_base64": ""}, "give either key (text) or key_base64 (bytes)"),
        ({"key_base64": "alice@example.com"}, "key_base64 is no base64"),
        ({"key": 5}, "key: Input should be a valid string"),
    ],
)
async def test_a_key_that_is_none(world: World, body: object, detail: str) -> None:
    status, document = await world.post(f"{REFUNDS}/explain", body)
    assert (status, document["error"], document["detail"]) == (422, "invalid_body", detail)
    assert world.operations.keys == []


async def test_a_route_without_rollout_has_nothing_to_explain(world: World) -> None:
    status, document = await world.post("/api/v1/routes/plain/explain", {"key": KEY})
    assert (status, document["error"]) == (404, "no_rollout")


async def test_a_key_is_never_in_a_url(world: World) -> None:
    assert (await world.get(f"{REFUNDS}/explain?key={KEY}"))[0] == 405
    assert (await world.post(f"{REFUNDS}/explain?key={KEY}"))[0] == 422
    assert world.operations.keys == []


@pytest.mark.parametrize("body", [{"key": KEY}, {"key": 5, KEY: KEY}, {"key": KEY, "key_base64": KEY}])
async def test_no_log_and_no_metric_keeps_a_key(world: World, body: object, caplog: pytest.LogCaptureFixture) -> None:
    with structlog.testing.capture_logs() as logged:
        await world.post(f"{REFUNDS}/explain", body)
    assert (logged, caplog.records) == ([], [])
    assert KEY.encode() not in world.metrics.expose("")[0]


async def test_an_explanation_that_fails_is_logged_without_the_key(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(route: str, key: bytes) -> None:
        raise ZeroDivisionError("somewhere inside")

    monkeypatch.setattr(world.operations, "explain", fails)
    with structlog.testing.capture_logs() as logged:
        status, document = await world.post(f"{REFUNDS}/explain", {"key": KEY})
    assert (status, document["error"]) == (500, "internal")
    assert [entry["event"] for entry in logged] == ["admin_request_failed"]
    assert KEY not in str(logged)


async def test_explaining_changes_nothing(world: World) -> None:
    await world.post(f"{REFUNDS}/explain", {"key": KEY})
    assert (world.operations.commands, world.operations.reloads) == ([], [])
    assert world.operations.documents["refunds"] == ROUTE


# Pairs


async def test_pairs_of_a_route(world: World) -> None:
    status, document = await world.get(f"{REFUNDS}/pairs?verdict=mismatched&before=9-1&limit=20")
    assert (status, document) == (200, {"pairs": [PAIR], "next": None})
    assert world.pairs.asked == [("refunds", "mismatched", "9-1", 20)]


async def test_a_page_that_is_full_tells_where_the_next_begins(world: World) -> None:
    world.pairs.kept = [PAIR, PAIR]
    _, document = await world.get(f"{REFUNDS}/pairs?limit=1")
    assert (len(document["pairs"]), document["next"]) == (1, "1-0")


@pytest.mark.parametrize(
    ("query", "path"), [("verdict=wrong", "verdict"), ("limit=0", "limit"), ("before=%20", "before")]
)
async def test_a_query_that_is_wrong(world: World, query: str, path: str) -> None:
    status, document = await world.get(f"{REFUNDS}/pairs?{query}")
    assert (status, document["error"], document["path"]) == (422, "invalid_query", path)


async def test_a_cursor_that_the_store_does_not_know(world: World) -> None:
    world.pairs.failure = ValueError("'x' is no cursor")
    status, document = await world.get(f"{REFUNDS}/pairs?before=x")
    assert (status, document["detail"]) == (422, "before: 'x' is no cursor")


async def test_one_pair(world: World) -> None:
    assert await world.get("/api/v1/pairs/refunds.1-0") == (200, PAIR)


async def test_a_pair_that_is_not_kept(world: World) -> None:
    status, document = await world.get("/api/v1/pairs/refunds.2-0")
    assert (status, document["error"]) == (404, "no_pair")


async def test_a_store_that_is_away(world: World) -> None:
    world.pairs.failure = StoreUnavailableError("redis://u:hunter2@cache does not answer")
    status, document, headers = await world.ask("GET", f"{REFUNDS}/pairs")
    assert (status, document["error"], headers["retry-after"]) == (503, "store_unavailable", "1")
    assert document["detail"] == "redis://***@cache does not answer"


async def test_a_store_that_holds_garbage(world: World) -> None:
    world.pairs.failure = StoreFormatError("crossfade:{refunds}:pairs", "is of a newer format")
    status, document = await world.get(f"{REFUNDS}/pairs")
    assert (status, document["error"]) == (500, "store_format")


# Configuration


async def test_the_configuration_that_runs(world: World) -> None:
    status, document = await world.get("/api/v1/config")
    assert (status, document["upstreams"]["agent"]["set_headers"]["authorization"]) == (200, "***")


async def test_a_reload(world: World) -> None:
    assert await world.post("/api/v1/config/reload", {"actor": "mia"}) == (200, {"result": "applied", "snapshot": 7})
    assert world.operations.reloads == ["mia"]


async def test_a_reload_of_a_bad_file_says_where(world: World) -> None:
    world.operations.failure = ConfigError("no such key", file="crossfade.yaml", line=4, path="routes[0].lgacy")
    status, document = await world.post("/api/v1/config/reload")
    assert (status, document["error"]) == (422, "invalid_config")
    assert document["detail"] == "crossfade.yaml:4: routes[0].lgacy: no such key"
    assert document["problems"] == ["crossfade.yaml:4: routes[0].lgacy: no such key"]


# Every answer


@pytest.mark.parametrize("path", ["/", "/api/v1", "/api/v1/routes/refunds/explode", "/metrics/x"])
async def test_a_path_that_is_none(world: World, path: str) -> None:
    status, document = await world.get(path)
    assert (status, document["error"]) == (404, "not_found")


async def test_a_method_that_is_none_names_those_that_are(world: World) -> None:
    status, document, headers = await world.ask("DELETE", REFUNDS, headers=JSON)
    assert (status, document["error"], headers["allow"]) == (405, "method_not_allowed", "GET, HEAD")
    status, _, headers = await world.ask("GET", f"{REFUNDS}/pause")
    assert (status, headers["allow"]) == (405, "POST")
    assert world.operations.commands == []


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/nothing", REFUNDS, "/api/v1/pairs/none"])
async def test_every_answer_has_an_id_and_is_not_kept(world: World, path: str) -> None:
    async with world.session.get(world.base + path, headers={"x-request-id": "abc-1"}) as response:
        assert response.headers["x-request-id"] == "abc-1"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["server"] == "crossfade"
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "<script>"])
async def test_an_odd_id_is_replaced(world: World, given: str) -> None:
    status, document, headers = await world.ask("GET", "/nothing", headers={"x-request-id": given})
    assert status == 404
    assert headers["x-request-id"] == document["request_id"] != given


async def test_what_nobody_expected_is_logged_and_not_told(world: World) -> None:
    world.operations.failure = ZeroDivisionError("secret inside")
    with structlog.testing.capture_logs() as logged:
        status, document = await world.post(f"{REFUNDS}/pause")
    assert (status, document["error"]) == (500, "internal")
    assert "secret" not in str(document)
    (entry,) = [entry for entry in logged if entry["event"] == "admin_request_failed"]
    assert entry["request_id"] == document["request_id"]
    assert isinstance(entry["exc_info"], ZeroDivisionError)


async def test_getting_changes_nothing(world: World) -> None:
    reads = ("pairs", "history", "evidence")
    for path in ("/api/v1/routes", REFUNDS, *(f"{REFUNDS}/{each}" for each in reads), "/api/v1/config", "/readyz"):
        assert (await world.get(path))[0] == 200
    assert world.operations.commands == []
    assert world.operations.reloads == []
    assert world.operations.documents["refunds"] == ROUTE


# Web pages


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9900", "127.0.0.1.evil.example", "[::2]", "[", ""])
async def test_a_page_whose_name_was_bound_to_us_is_refused(world: World, host: str) -> None:
    status, document = await world.get(REFUNDS, host=host)
    assert (status, document["error"]) == (403, "foreign_host")


@pytest.mark.parametrize("host", ["localhost:9900", "127.0.0.1", "[::1]:9900", "admin.internal:9900", "ADMIN.internal"])
async def test_names_of_ours_are_answered(host: str) -> None:
    world = World()
    runner = await world.open(allowed_hosts=("admin.internal",))
    assert (await world.get("/livez", host=host))[0] == 200
    await world.session.close()
    await runner.cleanup()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
async def test_a_page_of_another_origin_is_refused(world: World, origin: str) -> None:
    status, document = await world.post(f"{REFUNDS}/abort", origin=origin)
    assert (status, document["error"]) == (403, "foreign_origin")
    assert world.operations.commands == []


async def test_a_page_of_our_own_is_not(world: World) -> None:
    assert (await world.post(f"{REFUNDS}/abort", origin=world.base))[0] == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_what_a_form_can_send_is_refused(world: World, kind: str) -> None:
    status, document, _ = await world.ask("POST", f"{REFUNDS}/abort", data=b"{}", headers={"content-type": kind})
    assert (status, document["error"]) == (415, "not_json")
    assert world.operations.commands == []


# What is no HTTP


async def exchange(world: World, sent: bytes, *, leave: bool = False) -> bytes:
    """Send raw bytes and read all that comes back; `leave` ends our side at once."""
    host, _, port = world.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    if leave:
        writer.write_eof()
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


POST = f"POST {REFUNDS}/pause HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n".encode()


@pytest.mark.parametrize("sent", [POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n", b"GET /" + b"a" * 9000])
async def test_garbage_is_refused_with_one_line_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    assert (await exchange(world, sent)).startswith(b"HTTP/1.0 400 ")
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert record.getMessage().startswith("no HTTP: ")
    assert world.operations.commands == []


async def test_a_body_that_breaks_off_is_no_error_of_ours(world: World) -> None:
    with structlog.testing.capture_logs() as logged:
        await exchange(world, POST + b"content-length: 100\r\n\r\n{", leave=True)
        assert (await world.get("/livez"))[0] == 200
    assert [entry["event"] for entry in logged] == []
    assert world.operations.commands == []


async def test_a_body_with_a_coding_is_refused(world: World) -> None:
    sent = POST + b"content-encoding: gzip\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    assert (await exchange(world, sent)).startswith(b"HTTP/1.1 415 ")


# Tokens


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_without_a_token_nothing_but_probes_and_metrics(guarded: World) -> None:
    for path in ("/livez", "/readyz"):
        assert (await guarded.get(path))[0] == 200
    async with guarded.session.get(guarded.base + "/metrics") as response:
        assert response.status == 200
    status, document, headers = await guarded.ask("GET", REFUNDS)
    assert (status, document["error"]) == (401, "unauthorized")
    assert headers["www-authenticate"] == 'Bearer realm="crossfade"'


@pytest.mark.parametrize(
    "authorization", ["Bearer green", "Bearer", "Basic cmVkOnJlZA==", "red", "Bearer red blue", "Bearer \u00e9"]
)
async def test_a_wrong_token_is_refused_and_logged_without_it(guarded: World, authorization: str) -> None:
    with structlog.testing.capture_logs() as logged:
        status, _ = await guarded.get(REFUNDS, authorization=authorization)
    assert status == 401
    (entry,) = logged
    assert (entry["event"], entry["peer"], entry["path"]) == ("login_failed", "127.0.0.1", REFUNDS)
    assert not {"green", "cmVkOnJlZA==", authorization} & {str(value) for value in entry.values()}


async def test_a_viewer_may_read_and_not_act(guarded: World) -> None:
    assert (await guarded.get(REFUNDS, **bearer("red")))[0] == 200
    status, document = await guarded.post(f"{REFUNDS}/abort", **bearer("red"))
    assert (status, document["error"]) == (403, "forbidden")
    assert guarded.operations.commands == []


async def test_a_viewer_may_have_a_user_explained(guarded: World) -> None:
    body = {"key": "alice"}
    assert (await guarded.post(f"{REFUNDS}/explain", body))[0] == 401
    assert (await guarded.post(f"{REFUNDS}/explain", body, **bearer("red")))[0] == 200
    assert guarded.operations.keys == [b"alice"]


@pytest.mark.parametrize("path", ["abort/explain", "explain/abort", "abort%2Fexplain", "explain/", "abort;explain"])
async def test_no_spelling_of_another_path_passes_for_that(guarded: World, path: str) -> None:
    url = URL(f"{guarded.base}{REFUNDS}/{path}", encoded=True)
    async with guarded.session.post(url, json={}, headers=bearer("red")) as response:
        assert response.status in (403, 404)
    assert guarded.operations.commands == []


async def test_an_operator_acts_in_the_token_s_name_whatever_the_body_claims(guarded: World) -> None:
    body = {"reason": "", "actor": "someone else"}
    assert (await guarded.post(f"{REFUNDS}/abort", body, **bearer("blue")))[0] == 200
    assert (await guarded.post("/api/v1/config/reload", body, **bearer("blue")))[0] == 200
    assert guarded.operations.commands == [("refunds", Verb.ABORT, "bo", "", False)]
    assert guarded.operations.reloads == ["bo"]


async def test_with_tokens_any_name_will_do(guarded: World) -> None:
    assert (await guarded.get(REFUNDS, host="crossfade.example", **bearer("red")))[0] == 200


# Start


async def test_an_open_api_does_not_leave_this_machine(world: World) -> None:
    app = create_app(world.operations, world.pairs, world.metrics, ScriptedHistory())
    with pytest.raises(ConfigError, match=r"admin.address: 0.0.0.0 can be reached .* set admin.tokens_file"):
        await start(app, "0.0.0.0", 0)


async def test_with_tokens_it_may(tmp_path: Path) -> None:
    world = World()
    tokens = Tokens(tokens_file(tmp_path))
    app = create_app(world.operations, world.pairs, world.metrics, ScriptedHistory(), tokens=tokens)
    runner = await start(app, "0.0.0.0", 0)
    assert runner.addresses
    await runner.cleanup()
    await world.session.close()


async def test_an_address_in_use_is_one_clear_line(world: World) -> None:
    app = create_app(world.operations, world.pairs, world.metrics, ScriptedHistory())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"^admin.address: cannot listen on 127.0.0.1:{port}: address already in use$"
        ):
            await start(app, "127.0.0.1", port)
