"""Agents' spans on a real admin server and a real store; the agent's telemetry is the OpenTelemetry SDK's."""

import asyncio
import base64
import contextlib
import gzip
import hashlib
import io
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from structlog.testing import capture_logs

from proxy.admin import traces as admin_traces
from proxy.admin.app import create_app, start
from proxy.admin.auth import Tokens
from proxy.config.rollout_schema import Rollout
from proxy.config.sharing_schema import Forward
from proxy.config.sharing_schema import Traces as TracesConfig
from proxy.control import forwarding
from proxy.control.batching import route_rules
from proxy.control.forwarding import Forwarder
from proxy.control.spans import LOGGED_PER_SECOND, Spans
from proxy.model.snapshot import SealingKey
from proxy.storage import keys, steps
from proxy.storage.connection import connect
from proxy.storage.sealing import Sealer
from proxy.storage.steps import StepStore
from proxy.telemetry import otlp
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import spawn, stop
from tests.fakes import FakeClock
from tests.integration.admin_world import ScriptedHistory, ScriptedOperations, ScriptedPairs, tokens_file
from tests.integration.agent_world import CARD, exporter, running
from tests.valkey import Valkey

TRACE = "5b8efff798038103d269b633813fc60c"
SPAN = "eee19b7ec3c1b174"
ASKED = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "crossfade=shadow:refunds,other=1"}
JSON = {"content-type": "application/json"}
PROTOBUF = {"content-type": "application/x-protobuf"}


class World:
    def __init__(self, valkey: Valkey) -> None:
        self.valkey, self.clock, self.metrics = valkey, FakeClock(), Metrics(process=False)
        self.redis = connect(valkey.url, timeout=1.0)
        self.sealer = Sealer([SealingKey("k1", base64.b64encode(os.urandom(32)).decode())])
        self.store = StepStore(self.redis, self.sealer)
        self.forwarder = Forwarder(self.metrics, first_pause=0.01)
        self.spans = Spans(self.store, self.forwarder, self.metrics, self.clock)
        self.url = ""
        self.session = aiohttp.ClientSession()

    def use(self, record: dict[str, Any] | None = None, forward: str = "") -> None:
        rollout = Rollout.model_validate({"agent": "agent", "version": "v1", "salt": "s", "record": record or {}})
        to = Forward.model_validate({"url": forward, "headers": {"x-tenant": "t1"}}) if forward else None
        self.spans.use({"refunds": route_rules(rollout)}, TracesConfig(forward=to))

    async def open(self, tokens: Tokens | None = None) -> web.AppRunner:
        app = create_app(
            ScriptedOperations(), ScriptedPairs(), self.metrics, ScriptedHistory(), tokens=tokens, spans=self.spans
        )
        runner = await start(app, "127.0.0.1", 0)
        self.url = "http://{}:{}".format(*runner.addresses[0][:2])
        return runner

    async def post(self, body: bytes | dict[str, Any], **headers: str) -> tuple[int, bytes, dict[str, str]]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, dict):
            body, given = orjson.dumps(body), JSON | given
        async with self.session.post(f"{self.url}/v1/traces", data=io.BytesIO(body), headers=given) as response:
            answered = {name.lower(): value for name, value in response.headers.items()}
            return response.status, await response.read(), answered

    def counted(self, result: str, route: str = "refunds", family: str = "spans_total") -> float:
        labels = (route, result) if family == "spans_total" else (result,)
        return self.metrics._counters[family].get(labels, 0)

    async def shown(self, trace: str = TRACE) -> list[dict[str, Any]]:
        return (await self.store.read("refunds", trace)).steps

    async def stored(self, trace: str = TRACE) -> bytes:
        """All that the store holds of a trace, as it is there."""
        fields: dict[Any, Any] = await self.redis.hgetall(keys.steps("refunds", trace))
        return b"".join(fields.values())


@pytest.fixture
async def world(valkey: Valkey) -> AsyncIterator[World]:
    made = World(valkey)
    made.use()
    forwarding = spawn(made.forwarder.run(), "forwarder")
    runner = await made.open()
    yield made
    await made.session.close()
    await runner.cleanup()
    await stop(forwarding)
    made.forwarder.close()
    await made.redis.aclose()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


def span(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A tool's span in OTLP/JSON."""
    return {
        "traceId": TRACE,
        "spanId": f"{number:016x}",
        "name": "execute_tool",
        "kind": 1,
        "startTimeUnixNano": "1800000000000000000",
        "endTimeUnixNano": "1800000000250000000",
        "traceState": "crossfade=shadow:refunds",
        "attributes": [attribute("gen_ai.operation.name", "execute_tool"), attribute("gen_ai.tool.name", f"t{number}")],
        **fields,
    }


def attribute(name: str, value: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": value}}


def request(*spans: Any) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


async def work(world: World, headers: dict[str, str] = ASKED, *, packed: bool = False, token: str = "") -> None:
    """One request to an agent that exports to us."""
    with running(exporter(world.url, gzip=packed, token=token)) as agent:
        async with world.session.post(f"http://127.0.0.1:{agent.port}/refunds", json={}, headers=headers) as response:
            assert response.status == 200


# A real agent


@pytest.mark.parametrize("packed", [False, True])
async def test_what_a_real_agent_does_is_kept_step_by_step(world: World, packed: bool) -> None:
    await work(world, packed=packed)
    trail = await world.store.read("refunds", TRACE)
    assert [(step["depth"], step["kind"], step["name"], step["writes"]) for step in trail.steps] == [
        (0, "agent", "refunder", None),
        (1, "model", "chat gpt", None),
        (2, "reasoning", "gen_ai.reasoning", None),
        (1, "tool", "lookup_order", None),
        (1, "tool", "refund", True),
        (2, "other", "PUT", True),
        (1, "tool", "mail", None),
    ]
    agent, model, reasoning, lookup, refund, put, mail = trail.steps
    assert (model["model"], model["provider"]) == ("gpt-2026-10-01", "openai")
    assert model["tokens"] == {"input": 120, "output": 30}
    assert model["finish"] == ["tool_calls"]
    assert reasoning["result"] == "The order is old, but she was told so late."
    assert lookup["arguments"] == {"order": 7}
    assert put["parent"] == refund["id"]
    assert mail["error"] == "MailError: mailbox full"
    assert agent["duration"] >= model["duration"] > 0
    assert trail.totals == {
        "steps": 7,
        "tool_calls": 3,
        "model_calls": 1,
        "writes": 1,
        "errors": 1,
        "tokens": {"input": 120, "output": 30},
        "left_out": 0,
    }


async def test_secrets_are_masked_before_they_are_kept_or_logged(world: World) -> None:
    world.sealer.use([])  # so that the store shows what it has
    with capture_logs() as lines:
        await work(world)
    raw = orjson.dumps(await world.shown())
    stored = await world.stored()
    said = "".join(map(str, lines)).encode()
    for secret in (CARD.encode(), b"sk-very-secret"):
        assert secret not in raw
        assert secret not in stored
        assert secret not in said
    by_name = {step["name"]: step for step in await world.shown()}
    assert by_name["refund"]["arguments"] == {"order": 7, "card_number": "[redacted]"}
    assert by_name["lookup_order"]["result"] == {"amount": 20, "api_key": "[redacted]"}


async def test_what_is_kept_is_sealed(world: World) -> None:
    await work(world)
    stored = await world.stored()
    assert b"refunder" not in stored
    assert (await world.shown())[0]["name"] == "refunder"


async def test_paths_that_hide_in_bodies_hide_their_names_here(world: World) -> None:
    world.use({"mask": ["$.customer.iban"]})
    attributes = [*span()["attributes"], attribute("gen_ai.tool.call.arguments", '{"to": {"iban": "DE89 3704"}}')]
    await world.post(request(span(attributes=attributes)))
    assert (await world.shown())[0]["arguments"] == {"to": {"iban": "[redacted]"}}


async def test_each_step_is_one_line_of_the_log(world: World) -> None:
    with capture_logs() as lines:
        await work(world)
    told = [line for line in lines if line["event"] == "agent_step"]
    assert len(told) == 8  # the model's own call over HTTP too, which is shown to nobody
    model = next(line for line in told if line["kind"] == "model")
    assert {
        "route": "refunds",
        "trace_id": TRACE,
        "name": "chat gpt",
        "input_token_count": 120,
    }.items() <= model.items()
    assert next(line for line in told if line["name"] == "mail")["error"] == "MailError: mailbox full"


async def test_lines_are_bounded_and_what_is_left_out_is_counted(world: World) -> None:
    with capture_logs() as lines:
        await world.post(request(*(span(number) for number in range(1, LOGGED_PER_SECOND + 51))))
        assert world.counted("refunds", family="steps_unlogged_total") == 50
        world.clock.advance(0.125)
        await world.post(request(*(span(number) for number in range(1001, 1041))))
    assert len([line for line in lines if line["event"] == "agent_step"]) == LOGGED_PER_SECOND + 25


async def test_a_repeated_request_is_no_part_of_the_pair(world: World) -> None:
    await work(world, ASKED | {"tracestate": "crossfade=repeat:refunds"})
    assert await world.shown() == []
    assert world.counted("repeat") > 0


async def test_spans_of_nobody_are_counted_and_not_kept(world: World) -> None:
    await work(world, {"traceparent": ASKED["traceparent"]})
    await work(world, ASKED | {"tracestate": "crossfade=shadow:elsewhere"})
    assert world.counted("unrelated", "") > 0
    assert await world.redis.keys("*") == []


async def test_a_resource_may_say_the_route(world: World) -> None:
    body = request(span(traceState=""))
    body["resourceSpans"][0]["resource"]["attributes"] = [attribute("crossfade.route", "refunds")]
    await world.post(body)
    assert [step["name"] for step in await world.shown()] == ["t1"]


# Encodings, and what is refused


async def test_json_ids_are_hex_and_numbers_may_be_text(world: World) -> None:
    attributes = [
        attribute("gen_ai.operation.name", "chat"),
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "12"}},
        {"key": "gen_ai.usage.output_tokens", "value": {"intValue": 5}},
    ]
    body = request(
        span(spanId=SPAN.upper(), kind="SPAN_KIND_CLIENT", attributes=attributes, status={"code": "STATUS_CODE_ERROR"})
    )
    assert (await world.post(body))[:2] == (200, b"{}")
    (step,) = await world.shown()
    assert step["id"] == SPAN
    assert step["duration"] == 0.25
    assert step["at"] == "2027-01-15T08:00:00.000Z"
    assert step["tokens"] == {"input": 12, "output": 5}
    assert step["error"] == "failed"


async def test_gzip_is_taken(world: World) -> None:
    packed = gzip.compress(orjson.dumps(request(span())))
    assert (await world.post(packed, content_type="application/json", content_encoding="gzip"))[0] == 200
    assert len(await world.shown()) == 1


async def test_what_is_malformed_is_rejected_one_by_one(world: World) -> None:
    bad = [
        span(2, traceId="xyz"),
        span(3, spanId="0" * 16),
        span(4, startTimeUnixNano="soon"),
        7,
        span(5, attributes=3),
    ]
    status, answer, _ = await world.post(request(span(1), *bad, span(6)))
    partial = orjson.loads(answer)["partialSuccess"]
    assert (status, partial["rejectedSpans"]) == (200, "5")
    assert "a span has no trace id" in partial["errorMessage"]
    assert [step["name"] for step in await world.shown()] == ["t1", "t6"]
    assert world.counted("malformed", "") == 5


async def test_in_protobuf_too(world: World) -> None:
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    spans.add(trace_id=bytes.fromhex(TRACE), span_id=b"", start_time_unix_nano=1)
    status, answer, headers = await world.post(message.SerializeToString(), **PROTOBUF)
    assert (status, headers["content-type"]) == (200, "application/x-protobuf")
    partial = ExportTraceServiceResponse.FromString(answer).partial_success
    assert (partial.rejected_spans, partial.error_message) == (1, "a span has no span id")


async def test_a_request_may_hold_so_many_spans(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MAX_SPANS", 2)
    _, answer, _ = await world.post(request(span(1), span(2), span(3)))
    assert orjson.loads(answer)["partialSuccess"]["rejectedSpans"] == "1"
    assert len(await world.shown()) == 2


async def test_what_a_trace_has_no_room_for_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MAX_SPANS", 2)
    _, answer, _ = await world.post(request(span(1), span(2), span(3)))
    assert orjson.loads(answer)["partialSuccess"]["rejectedSpans"] == "1"
    assert world.counted("over_limit") == 1
    assert (await world.store.read("refunds", TRACE)).totals["left_out"] == 1


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff\xff garbage", PROTOBUF, 400),
        (b"{", JSON, 400),
        (b"[]", JSON, 400),
        (b'{"resourceSpans": 7}', JSON, 400),
        (b"no gzip", PROTOBUF | {"content-encoding": "gzip"}, 400),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], PROTOBUF | {"content-encoding": "gzip"}, 400),
        (gzip.compress(b"\0" * (17 << 20), mtime=0), PROTOBUF | {"content-encoding": "gzip"}, 413),
        (os.urandom(5 << 20), PROTOBUF | {"content-encoding": "gzip"}, 413),
        (b"\0" * (17 << 20), PROTOBUF, 413),
        (b"", PROTOBUF | {"content-encoding": "br"}, 415),
        (b"", {"content-type": "text/plain"}, 415),
        (b"{}", JSON | {"origin": "http://evil.example"}, 403),
        (b"", PROTOBUF | {"host": "evil.example"}, 403),
    ],
    ids=[
        "garbage", "cut JSON", "a list", "no list", "no gzip", "cut gzip", "unpacks to 17 MiB", "5 MiB packed",
        "17 MiB", "brotli", "text", "another origin", "another host",
    ],
)  # fmt: skip
async def test_these_are_refused_and_not_sent_again(
    world: World, body: bytes, headers: dict[str, str], status: int
) -> None:
    with contextlib.suppress(aiohttp.ClientConnectionError):  # it may be told so while it still sends
        answered, answer, told = await world.post(body, **headers)
        assert answered == status
        assert "retry-after" not in told
        if headers["content-type"] == "application/x-protobuf":
            assert told["content-type"] == "application/x-protobuf"
            assert answer.startswith(b"\x12")  # a Status with its message
    assert await world.redis.keys("*") == []


async def test_no_page_of_a_browser_is_allowed_to_ask(world: World) -> None:
    """Neither content type is one that a page may send without asking, and the asking is not answered."""
    headers = {"origin": world.url, "access-control-request-method": "POST"}
    async with world.session.options(f"{world.url}/v1/traces", headers=headers) as response:
        assert response.status >= 400
        assert not any(name.lower().startswith("access-control") for name in response.headers)


async def test_other_paths_stay_as_they_are(world: World) -> None:
    async with world.session.post(f"{world.url}/api/v1/config/reload", data=b"", headers=PROTOBUF) as response:
        assert response.status == 415
    async with world.session.post(
        f"{world.url}/api/v1/config/reload", data=gzip.compress(b"{}"), headers=JSON | {"content-encoding": "gzip"}
    ) as response:
        assert response.status == 415


async def test_too_many_at_a_time_are_asked_to_come_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_traces, "MAX_UNDER_WAY", 0)
    status, _, headers = await world.post(request(span()))
    assert (status, headers["retry-after"]) == (429, "1")


# Who may


async def test_an_agents_token_sends_spans_and_nothing_else(world: World, tmp_path: Path) -> None:
    file = tokens_file(tmp_path)
    file.write_text(file.read_text() + f"bot agent sha256:{hashlib.sha256(b'green').hexdigest()}\n")
    runner = await world.open(Tokens(file))
    try:
        expected = {"green": 200, "blue": 200, "red": 403, "none": 401}
        for token, status in expected.items():
            assert (await world.post(request(span()), authorization=f"Bearer {token}"))[0] == status
        bot = {"authorization": "Bearer green"}
        for method, path in (
            ("GET", "/api/v1/routes"),
            ("GET", "/api/v1/pairs/refunds.1-0"),
            ("POST", "/api/v1/config/reload"),
            ("POST", "/api/v1/outcomes"),
        ):
            async with world.session.request(method, world.url + path, headers=bot, json={}) as response:
                assert response.status == 403
        await work(world, token="green")
        assert len(await world.shown()) > 5
    finally:
        await runner.cleanup()


# Sent again, and the store away


async def test_what_is_sent_again_is_kept_and_logged_once(world: World) -> None:
    with capture_logs() as lines:
        for _ in range(3):
            assert (await world.post(request(span(1), span(2))))[0] == 200
    assert len(await world.shown()) == 2
    assert (world.counted("kept"), world.counted("known")) == (2, 4)
    assert len([line for line in lines if line["event"] == "agent_step"]) == 2


async def test_while_the_store_is_away_the_exporter_keeps_them(world: World) -> None:
    """The SDK's own retrying brings them."""
    world.valkey.kill()
    status, _, headers = await world.post(request(span()))
    assert (status, headers["retry-after"]) == (503, "1")
    assert world.counted("store_away") == 1
    with running(exporter(world.url)) as agent:

        async def ask() -> None:
            async with world.session.post(f"http://127.0.0.1:{agent.port}/", json={}, headers=ASKED) as response:
                assert response.status == 200

        asking = spawn(ask(), "ask")
        await until(lambda: world.counted("store_away") > 1)
        await asyncio.to_thread(world.valkey.start)
        async with asyncio.timeout(60):
            await asking
    assert len(await world.shown()) == 7


async def test_a_key_that_is_not_ours_is_counted_and_not_sent_again(world: World) -> None:
    await world.redis.set(keys.steps("refunds", TRACE), "mine")
    assert (await world.post(request(span())))[0] == 200
    assert world.counted("store_format") == 1


# To the collector


class Collector:
    """Answers with what `answers` says, in turn; the last one again and again."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, dict[str, str]]] = []
        self.answers = [200]
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((await request.read(), {name.lower(): value for name, value in request.headers.items()}))
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=status)

    async def open(self, port: int = 0) -> web.AppRunner:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/traces", self.take)
        runner = web.AppRunner(app, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        self.url = "http://{}:{}/v1/traces".format(*runner.addresses[0][:2])
        return runner


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    made = Collector()
    runner = await made.open()
    yield made
    await runner.cleanup()


async def test_all_spans_go_on_as_they_came(world: World, collector: Collector) -> None:
    world.use(forward=collector.url)
    packed = gzip.compress(orjson.dumps(request(span(1), span(2, traceState=""))))
    await world.post(packed, content_type="application/json", content_encoding="gzip")
    await until(lambda: world.counted("sent", family="spans_forwarded_total") == 2)
    ((body, headers),) = collector.got
    assert body == packed
    assert (headers["content-type"], headers["content-encoding"]) == ("application/json", "gzip")
    assert headers["x-tenant"] == "t1"
    assert "authorization" not in headers


async def test_what_is_sent_again_goes_on_once(world: World, collector: Collector) -> None:
    world.use(forward=collector.url)
    for number in (1, 1, 2):
        await world.post(request(span(number)))
    await until(lambda: len(collector.got) >= 2)
    assert world.counted("sent", family="spans_forwarded_total") == 2


async def test_they_go_on_while_the_store_is_away(world: World, collector: Collector) -> None:
    world.use(forward=collector.url)
    world.valkey.kill()
    assert (await world.post(request(span())))[0] == 503
    await until(lambda: len(collector.got) == 1)


async def test_a_collector_that_is_busy_is_asked_again(world: World, collector: Collector) -> None:
    world.use(forward=collector.url)
    collector.answers = [503, 429, 200]
    with capture_logs() as lines:
        await world.post(request(span()))
        await until(lambda: world.counted("sent", family="spans_forwarded_total") == 1)
    assert len(collector.got) == 3
    events = [line["event"] for line in lines if line["event"].startswith("spans_")]
    assert events == ["spans_not_forwarded", "spans_forwarded_again"]


async def test_what_it_refuses_is_given_up(world: World, collector: Collector) -> None:
    world.use(forward=collector.url)
    collector.answers = [400, 200]
    await world.post(request(span(1)))
    await until(lambda: world.counted("failed", family="spans_forwarded_total") == 1)
    await world.post(request(span(2)))
    await until(lambda: world.counted("sent", family="spans_forwarded_total") == 1)


async def test_a_collector_that_is_down_delays_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "MAX_WAITING", 3)
    collector = Collector()
    runner = await collector.open()
    port = runner.addresses[0][1]
    await runner.cleanup()
    world.use(forward=collector.url)
    async with asyncio.timeout(5):
        for number in range(1, 6):
            assert (await world.post(request(span(number))))[0] == 200
    assert len(await world.shown()) == 5
    assert world.counted("dropped", family="spans_forwarded_total") == 2
    runner = await collector.open(port)
    await until(lambda: world.counted("sent", family="spans_forwarded_total") == 3)
    await runner.cleanup()
