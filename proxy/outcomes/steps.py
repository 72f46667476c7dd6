"""From an agent's spans to the steps of its work: what it did with one request, in the order of time.

`make_steps` reads one span, and masks what it holds before anything of it is kept; `arrange` puts the steps of a trace
together. A step as it is kept:

    {id, parent, kind, name, start, duration, model, provider, tokens: {input, output}, arguments, result, finish,
     call, error, action, writes, cut}

without what the span does not say. `start` is in nanoseconds since 1970, `duration` in seconds, `cut` true where
something was too long to be kept whole. As it is shown it has `at` (RFC 3339) instead of `start`, and its `depth`, and
all of its fields.

`writes` is true where a tool changed something, as far as is known: `crossfade.tool.writes` says so, or something that
it called was a POST, PUT, PATCH or DELETE, or a statement that writes. It is false only where that attribute says so:
who was not seen writing may still have written. Else it is null.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from proxy.model.spans import Span
from proxy.outcomes import body, conventions
from proxy.outcomes.conventions import Kind
from proxy.outcomes.redact import MASK, Redactor

MAX_CONTENT: Final = 8 << 10
"""Bytes of JSON of arguments and of a result that are kept of one step."""
MAX_THOUGHTS: Final = 20
"""Steps of reasoning that are read out of one span."""
MAX_DEPTH: Final = 64
_MAX_NAME: Final = 128
_MAX_ERROR: Final = 500

_SHOWN: Final = (
    "model", "provider", "tokens", "arguments", "result", "finish", "call", "error", "action", "writes",
)  # fmt: skip

Step = dict[str, Any]


def route_of(span: Span) -> tuple[str, str]:
    """The mode and the route for which the span's trace was begun, as the gateway wrote them into `tracestate`; else
    the route by the attribute `crossfade.route` of the span or its resource. Empty where nobody says."""
    for member in span.trace_state.split(","):
        name, _, value = member.strip().partition("=")
        if name == "crossfade":
            mode, _, route = value.partition(":")
            return mode, route
    named = span.attributes.get(conventions.ROUTE) or span.resource.get(conventions.ROUTE)
    return "", named if isinstance(named, str) else ""


def make_steps(span: Span, redactor: Redactor) -> list[Step]:
    """The span's own step and those of the reasoning that it holds; none where it is of no kind that is kept."""
    kind = conventions.kind_of(span)
    thoughts = list(_thoughts(span, redactor))
    if kind is None:
        if not thoughts:
            return []
        kind = Kind.OTHER  # where they hang on
    step: Step = {
        "id": span.span_id,
        "parent": span.parent_id,
        "kind": kind.value,
        "name": _short(redactor.text(conventions.name_of(span, kind)), _MAX_NAME),
        "start": span.start,
        "duration": round(max(0, span.end - span.start) / 1e9, 6),
    }
    attributes = span.attributes
    step |= _told(model=_word(attributes, conventions.MODEL), provider=_word(attributes, conventions.PROVIDER))
    step |= _told(tokens=_tokens(span), finish=_finish(attributes), call=_word(attributes, conventions.CALL_ID))
    asked = conventions.asked(span)
    said = conventions.said(span) if kind is not Kind.REASONING else conventions.thought(attributes)
    for name, value in (("arguments", asked), ("result", said)):
        if value is not None:
            step[name], cut = _kept(value, redactor)
            if cut:
                step["cut"] = True
    if span.cut:
        step["cut"] = True
    action = conventions.action(span)
    step |= _told(error=_error(span, redactor), action=action, writes=_writes(span, kind, action))
    return [step, *thoughts]


class Trail(NamedTuple):
    """All steps of one trace as they are shown, in the order of time, and what they come to: `{steps, tool_calls,
    model_calls, writes, errors, tokens: {input, output}, left_out}`.

    `writes` are the steps that are known to have changed something, `left_out` the spans beyond the bound of a trace.
    """

    steps: list[Step]
    totals: dict[str, Any]


def arrange(kept: Iterable[Step], links: Mapping[str, str], left_out: int = 0) -> Trail:
    """Put the steps of one trace together. `links` has the parents of spans that are no steps, by their ids, so that
    what is below them finds its place.

    What an agent's model was called over is no action of the agent: calls below a model's step are left out.
    """
    by_id = {step["id"]: step for step in kept}
    above = {name: _ancestors(step, by_id, links) for name, step in by_id.items()}
    wrote = set()
    shown = []
    for name, step in by_id.items():
        doer = _doer(above[name]) if step.get("action") else None
        if doer is not None and doer["kind"] == Kind.MODEL:
            continue
        if doer is not None and doer["kind"] == Kind.TOOL and step.get("writes"):
            wrote.add(doer["id"])
        shown.append(step)
    shown.sort(key=lambda step: (step["start"], len(above[step["id"]]), step["id"]))
    steps = [_show(step, above[step["id"]], step["id"] in wrote) for step in shown]
    return Trail(steps, _totals(steps, above, left_out))


# One span


def _thoughts(span: Span, redactor: Redactor) -> Iterator[Step]:
    """Reasoning that a span holds: events that say so, and parts of a model's answer."""
    found = [
        (event.at or span.start, event.name, conventions.thought(event.attributes))
        for event in span.events
        if conventions.says_thinking(event.name)
    ]
    found += [(span.end or span.start, "reasoning", text) for text in _reasoned(span)]
    for number, (at, name, text) in enumerate(found[:MAX_THOUGHTS]):
        step: Step = {
            "id": f"{span.span_id}.{number}",
            "parent": span.span_id,
            "kind": Kind.REASONING.value,
            "name": _short(redactor.text(name), _MAX_NAME),
            "start": at,
            "duration": 0.0,
        }
        if text is not None:
            step["result"], cut = _kept(text, redactor)
            if cut:
                step["cut"] = True
        yield step


def _reasoned(span: Span) -> Iterator[Any]:
    """The parts of type `reasoning` in a model's output messages (GenAI conventions), and what OpenInference and
    Traceloop name so."""
    messages = _decoded(conventions.said(span))
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        parts = message.get("parts")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and part.get("type") in ("reasoning", "thinking"):
                yield part.get("content") or part.get("text")
        for name, value in message.items():
            if name.rpartition(".")[2] in ("reasoning", "reasoning_content", "thinking") and isinstance(value, str):
                yield value
            elif name.endswith(".type") and value == "reasoning":
                yield message.get(f"{name.removesuffix('type')}text")


def _tokens(span: Span) -> dict[str, int] | None:
    counts = {
        name: count
        for name, names in (("input", conventions.INPUT_TOKENS), ("output", conventions.OUTPUT_TOKENS))
        if (count := _count(conventions.first(span.attributes, names))) is not None
    }
    return {"input": 0, "output": 0} | counts if counts else None


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 53:
        return None
    return int(value)


def _word(attributes: Mapping[str, Any], names: tuple[str, ...]) -> str:
    found = conventions.first(attributes, names)
    return _short(found, _MAX_NAME) if isinstance(found, str) else ""


def _finish(attributes: Mapping[str, Any]) -> list[str]:
    found = conventions.first(attributes, conventions.FINISH)
    words = found if isinstance(found, list) else [found]
    return [_short(word, _MAX_NAME) for word in words[:8] if isinstance(word, str)]


def _writes(span: Span, kind: Kind, action: str) -> bool | None:
    told = span.attributes.get(conventions.WRITES)
    if isinstance(told, bool):
        return told
    return True if kind in (Kind.TOOL, Kind.OTHER) and conventions.is_write(action) else None


def _error(span: Span, redactor: Redactor) -> str:
    """What went wrong; empty where nothing did. An exception that was caught, with the span's status fine, is none."""
    if not span.failed and not span.attributes.get("error.type"):
        return ""
    kind = span.attributes.get("error.type")
    problem = span.problem
    for event in span.events:
        if event.name == "exception":
            kind = kind or event.attributes.get("exception.type")
            problem = problem or str(event.attributes.get("exception.message") or "")
    words = [str(word) for word in (kind, problem) if word]
    return _short(redactor.text(": ".join(words) or "failed"), _MAX_ERROR)


def _told(**fields: Any) -> Step:
    return {name: value for name, value in fields.items() if value is not None and value not in ("", [])}


# What is kept of a content


def _kept(value: Any, redactor: Redactor) -> tuple[Any, bool]:
    """The masked value, and whether it is a beginning only (then it is text)."""
    masked = _masked(_decoded(value), redactor, 0)
    packed = orjson.dumps(masked, option=orjson.OPT_NON_STR_KEYS)
    if len(packed) <= MAX_CONTENT:
        return masked, False
    text = masked if isinstance(masked, str) else packed.decode()
    return _short(text, MAX_CONTENT), True


def _decoded(value: Any) -> Any:
    """JSON that came as text is what it says."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        inner = body.read(value.encode("utf-8", "replace"), truncated=False)
        return inner.value if inner.kind is body.Kind.JSON else value
    return value


def _masked(value: Any, redactor: Redactor, depth: int) -> Any:
    """As a recorded body is masked, but each text in it by what names can be found in it, too: prompts quote requests,
    and then a hidden member stands in the middle of a sentence."""
    if depth > body.MAX_DEPTH:
        return MASK
    if isinstance(value, dict):
        return {
            name: MASK if redactor.hides(str(name).rpartition(".")[2]) else _masked(item, redactor, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_masked(item, redactor, depth + 1) for item in value]
    if isinstance(value, str):
        found = _decoded(value)
        if isinstance(found, str):
            return redactor.text(value)
        masked = _masked(found, redactor, depth + 1)
        return value if masked == found else orjson.dumps(masked).decode()
    return value


def _short(text: str, most: int) -> str:
    """Cut to so many bytes of UTF-8, or less."""
    return text if len(text) * 4 <= most else text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


# A trace


def _ancestors(step: Step, by_id: Mapping[str, Step], links: Mapping[str, str]) -> list[Step]:
    """The steps above it, the nearest first. What calls itself its own ancestor has them up to there."""
    found: list[Step] = []
    met = {step["id"]}
    parent = step["parent"]
    while parent and parent not in met and len(found) < MAX_DEPTH:
        met.add(parent)
        if parent in by_id:
            found.append(by_id[parent])
            parent = by_id[parent]["parent"]
        else:
            parent = links.get(parent, "")
    return found


def _doer(above: list[Step]) -> Step | None:
    """Who made a call: the nearest agent, tool or model."""
    return next((step for step in above if step["kind"] in (Kind.AGENT, Kind.TOOL, Kind.MODEL)), None)


def _show(step: Step, above: list[Step], wrote: bool) -> Step:
    at = datetime.fromtimestamp(step["start"] / 1e9, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    fields = {name: step.get(name) for name in _SHOWN}
    return {
        "id": step["id"],
        "parent": above[0]["id"] if above else None,
        "depth": len(above),
        "kind": step["kind"],
        "name": step["name"],
        "at": at,
        "duration": step["duration"],
        **fields,
        "writes": True if wrote and fields["writes"] is None else fields["writes"],
        "cut": bool(step.get("cut")),
    }


def _totals(steps: list[Step], above: Mapping[str, list[Step]], left_out: int) -> dict[str, Any]:
    of = [step["kind"] for step in steps]
    return {
        "steps": len(steps),
        "tool_calls": of.count(Kind.TOOL),
        "model_calls": of.count(Kind.MODEL),
        # A call that a tool made is the tool's.
        "writes": sum(
            step["writes"] is True and (step["kind"] == Kind.TOOL or not _below(Kind.TOOL, above[step["id"]]))
            for step in steps
        ),
        "errors": sum(step["error"] is not None for step in steps),
        "tokens": _all_tokens(steps, above),
        "left_out": left_out,
    }


def _all_tokens(steps: list[Step], above: Mapping[str, list[Step]]) -> dict[str, int]:
    """Each counted once: a model's step below another one that has some is part of it. What an agent says of its tokens
    is what its models say, and counts where none of them says any."""
    for kind in (Kind.MODEL, Kind.AGENT):
        having = {step["id"]: step["tokens"] for step in steps if step["kind"] == kind and step["tokens"]}
        counted = [tokens for name, tokens in having.items() if not any(each["id"] in having for each in above[name])]
        if counted:
            return {way: sum(tokens[way] for tokens in counted) for way in ("input", "output")}
    return {"input": 0, "output": 0}


def _below(kind: Kind, above: list[Step]) -> bool:
    return any(step["kind"] == kind for step in above)
