"""An agent as its owner runs it: an HTTP server whose work is instrumented with the OpenTelemetry SDK, and whose spans
leave by the SDK's own exporter. It knows nothing of Crossfade but the headers that W3C Trace Context names."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

CARD = "4111111111111111"


class Agent:
    """`exporter` sends its spans, each as it ends. `ask` is one request to it."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.heard: list[dict[str, str]] = []
        """The headers of each request, by their lower-case names."""
        self._provider = TracerProvider(resource=Resource.create({"service.name": "refund-agent"}))
        self._provider.add_span_processor(SimpleSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("refund-agent")
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                agent.heard.append(headers)
                agent.work(headers)
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", "22")
                self.end_headers()
                self.wfile.write(b'{"decision":"approve"}')

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._provider.shutdown()

    def work(self, headers: Mapping[str, str]) -> None:
        """What it does with one request: it thinks, looks up the order, and refunds it; then its mail fails."""
        start = self._tracer.start_as_current_span
        context = TraceContextTextMapPropagator().extract(headers)
        with (
            start("POST /refunds", context=context, kind=SpanKind.SERVER),
            start(
                "invoke_agent", attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "refunder"}
            ),
        ):
            with start("chat gpt", kind=SpanKind.CLIENT, attributes=self._chat()) as model:
                model.add_event("gen_ai.reasoning", {"content": "The order is old, but she was told so late."})
                with start("POST", kind=SpanKind.CLIENT, attributes={"http.request.method": "POST"}):
                    pass
            with start("lookup", attributes={"openinference.span.kind": "TOOL", "tool.name": "lookup_order"}) as tool:
                tool.set_attribute("input.value", '{"order": 7}')
                tool.set_attribute("output.value", '{"amount": 20, "api_key": "sk-very-secret"}')
            with start(
                "refund.tool", attributes={"traceloop.span.kind": "tool", "traceloop.entity.name": "refund"}
            ) as tool:
                tool.set_attribute("traceloop.entity.input", f'{{"order": 7, "card_number": "{CARD}"}}')
                with start("between"), start("PUT", kind=SpanKind.CLIENT, attributes={"http.method": "PUT"}):
                    pass
            with start(
                "execute_tool mail",
                attributes={"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "mail"},
            ) as tool:
                tool.set_attribute("error.type", "MailError")
                tool.set_status(Status(StatusCode.ERROR, "mailbox full"))

    @staticmethod
    def _chat() -> dict[str, Any]:
        return {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt",
            "gen_ai.response.model": "gpt-2026-10-01",
            "gen_ai.usage.input_tokens": 120,
            "gen_ai.usage.output_tokens": 30,
            "gen_ai.response.finish_reasons": ["tool_calls"],
            "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":'
            f'"Decide on {{\\"order\\": 7, \\"card_number\\": \\"{CARD}\\"}}"}}]}}]',
        }


def exporter(url: str, *, gzip: bool = False, token: str = "") -> OTLPSpanExporter:
    compression = Compression.Gzip if gzip else Compression.NoCompression
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return OTLPSpanExporter(f"{url}/v1/traces", headers=headers, compression=compression, timeout=5)


@contextmanager
def running(sends_by: SpanExporter) -> Iterator[Agent]:
    agent = Agent(sends_by)
    agent.start()
    try:
        yield agent
    finally:
        agent.stop()
