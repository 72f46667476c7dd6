"""What a span is and says, whichever names its instrumentation gave its attributes: those of OpenTelemetry's GenAI
conventions (`gen_ai.*`, also the older ones), of OpenInference (`openinference.*`, `llm.*`, `tool.*`) and of Traceloop
(`traceloop.*`). Where several are there, the first of each list counts.

`crossfade.tool.writes` (true or false) and `crossfade.step.kind` are our own: they say what no convention does.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from proxy.model.spans import CLIENT, Span


class Kind(StrEnum):
    """What a step is. `other` is known to a convention and none of the four, or an action of its own: a call over HTTP,
    a statement for a database."""

    AGENT = "agent"
    TOOL = "tool"
    MODEL = "model"
    REASONING = "reasoning"
    OTHER = "other"


_OPERATIONS: Final = {
    "chat": Kind.MODEL,
    "generate_content": Kind.MODEL,
    "text_completion": Kind.MODEL,
    "embeddings": Kind.MODEL,
    "execute_tool": Kind.TOOL,
    "invoke_agent": Kind.AGENT,
    "create_agent": Kind.AGENT,
    "invoke_workflow": Kind.AGENT,
    "retrieval": Kind.OTHER,
    "reasoning": Kind.REASONING,
    "plan": Kind.REASONING,
}
_OPENINFERENCE: Final = {
    "LLM": Kind.MODEL,
    "EMBEDDING": Kind.MODEL,
    "TOOL": Kind.TOOL,
    "AGENT": Kind.AGENT,
    "DECISION": Kind.REASONING,
}
_TRACELOOP: Final = {"workflow": Kind.AGENT, "agent": Kind.AGENT, "tool": Kind.TOOL, "task": Kind.OTHER}
_REQUEST_TYPES: Final = {"chat": Kind.MODEL, "completion": Kind.MODEL, "embedding": Kind.MODEL}
_THINKING: Final = re.compile(r"(?i)(?:\w+[./_ -])*(?:reasoning|thinking|thought|think|planning|plan)\b")

ROUTE: Final = "crossfade.route"
WRITES: Final = "crossfade.tool.writes"
STEP_KIND: Final = "crossfade.step.kind"

MODEL: Final = (
    "gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "embedding.model_name", "llm.response.model",
    "llm.request.model",
)  # fmt: skip
PROVIDER: Final = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
INPUT_TOKENS: Final = (
    "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt", "llm.usage.prompt_tokens",
)  # fmt: skip
OUTPUT_TOKENS: Final = (
    "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion",
    "llm.usage.completion_tokens",
)  # fmt: skip
CALL_ID: Final = ("gen_ai.tool.call.id", "tool.id", "tool_call.id")
FINISH: Final = ("gen_ai.response.finish_reasons", "llm.response.finish_reason", "llm.finish_reason")

_NAMES: Final = {
    Kind.TOOL: ("gen_ai.tool.name", "tool.name", "traceloop.entity.name"),
    Kind.AGENT: ("gen_ai.agent.name", "gen_ai.workflow.name", "agent.name", "traceloop.entity.name"),
    Kind.OTHER: ("traceloop.entity.name",),
}
_ARGUMENTS: Final = (
    "gen_ai.tool.call.arguments", "gen_ai.input.messages", "gen_ai.retrieval.query.text", "tool.parameters",
    "tool_call.function.arguments", "input.value", "traceloop.entity.input", "gen_ai.prompt", "mcp.request.argument",
)  # fmt: skip
_RESULT: Final = (
    "gen_ai.tool.call.result", "gen_ai.output.messages", "gen_ai.retrieval.documents", "output.value",
    "traceloop.entity.output", "gen_ai.completion", "mcp.response.value",
)  # fmt: skip
_ASKED: Final = ("gen_ai.prompt.", "llm.input_messages.", "llm.prompts.")
_SAID: Final = ("gen_ai.completion.", "llm.output_messages.", "llm.completions.")
"""Messages that were taken apart: `gen_ai.prompt.0.role`, `gen_ai.prompt.0.content`, ..."""
_ASKING: Final = frozenset({"gen_ai.system.message", "gen_ai.user.message", "gen_ai.tool.message"})
_SAYING: Final = frozenset({"gen_ai.choice", "gen_ai.assistant.message"})
"""Events, one for each message, as the conventions had them before 1.37."""
_THOUGHT: Final = ("content", "text", "reasoning", "gen_ai.reasoning.content", "message", "thought", "output.value")

_METHOD: Final = ("http.request.method", "http.method")
_STATEMENT: Final = ("db.operation.name", "db.operation")
_WRITING: Final = frozenset({
    "POST", "PUT", "PATCH", "DELETE", "INSERT", "UPDATE", "UPSERT", "MERGE", "REPLACE", "CREATE", "DROP", "ALTER",
    "TRUNCATE", "SET", "HSET", "DEL", "XADD",
})  # fmt: skip


def first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first of these attributes that there is; None without."""
    for name in names:
        if (value := attributes.get(name)) is not None:
            return value
    return None


def kind_of(span: Span) -> Kind | None:
    """None where no convention knows the span, and it is no action of its own."""
    attributes = span.attributes
    own = attributes.get(STEP_KIND)
    if isinstance(own, str) and own in tuple(Kind):
        return Kind(own)
    operation = attributes.get("gen_ai.operation.name")
    if isinstance(operation, str):
        return _OPERATIONS.get(operation, Kind.OTHER)
    for name, words in (("openinference.span.kind", _OPENINFERENCE), ("traceloop.span.kind", _TRACELOOP)):
        if isinstance(word := attributes.get(name), str):
            return words.get(word.upper() if words is _OPENINFERENCE else word, Kind.OTHER)
    if isinstance(word := attributes.get("llm.request.type"), str):
        return _REQUEST_TYPES.get(word, Kind.OTHER)
    if "gen_ai.tool.name" in attributes:
        return Kind.TOOL
    if "gen_ai.request.model" in attributes:
        return Kind.MODEL
    if says_thinking(span.name):
        return Kind.REASONING
    return Kind.OTHER if action(span) else None


def says_thinking(name: str) -> bool:
    """A span's or event's name that says it is reasoning, such as `reasoning`, `agent.thinking`, `plan`."""
    return _THINKING.fullmatch(name) is not None


def action(span: Span) -> str:
    """The method of a call over HTTP or the word of a statement for a database, made by the span; empty where it is
    neither. A server's span is not: it answers."""
    if span.kind != CLIENT:
        return ""
    word = first(span.attributes, _METHOD) or first(span.attributes, _STATEMENT)
    return word[:32].upper() if isinstance(word, str) else ""


def is_write(word: str) -> bool:
    return word in _WRITING


def name_of(span: Span, kind: Kind) -> str:
    found = first(span.attributes, _NAMES.get(kind, ()))
    return found if isinstance(found, str) and found else span.name or "unnamed"


def asked(span: Span) -> Any:
    """A tool's arguments, what a model or agent was told; None where the span does not say."""
    return _content(span, _ARGUMENTS, _ASKED, _ASKING)


def said(span: Span) -> Any:
    """A tool's result, what a model or agent answered."""
    return _content(span, _RESULT, _SAID, _SAYING)


def thought(attributes: Mapping[str, Any]) -> Any:
    """What an event or span of reasoning says."""
    return first(attributes, _THOUGHT)


def _content(span: Span, names: tuple[str, ...], prefixes: tuple[str, ...], events: frozenset[str]) -> Any:
    if (value := first(span.attributes, names)) is not None:
        return value
    if messages := _assembled(span.attributes, prefixes):
        return messages
    found: list[Any] = [dict(event.attributes) for event in span.events if event.name in events]
    told = (first(event.attributes, names) for event in span.events)
    found += [value for value in told if value is not None]
    return found[0] if len(found) == 1 else found or None


def _assembled(attributes: Mapping[str, Any], prefixes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Messages put together again, in their order. The names of their members stay, so that they can be masked by."""
    messages: dict[int, dict[str, Any]] = {}
    for name, value in attributes.items():
        for prefix in prefixes:
            if name.startswith(prefix):
                number, _, member = name[len(prefix) :].partition(".")
                if number.isdecimal() and len(number) < 6:
                    messages.setdefault(int(number), {})[member.removeprefix("message.") or "content"] = value
    return [messages[number] for number in sorted(messages)]
