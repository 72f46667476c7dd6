"""OTLP/HTTP as agents speak it: requests to export traces, in protobuf and in JSON, and the answers to them.

What a whole request gets wrong raises OtlpError; a span that is wrong is told as a `Malformed` in its place, and costs
no other. Everything is bounded: spans of a request, attributes and events of a span, the length and depth of a value.

JSON is read by ourselves: OTLP/JSON writes ids in hex, where protobuf's own mapping takes them for base64 and makes
other ids of them. Whole numbers may be texts, and enumerations numbers or names.
"""

import base64
import re
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from proxy.model.spans import Span, SpanEvent

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

MAX_UNPACKED: Final = 16 << 20
"""Bytes of a request, unpacked."""
MAX_SPANS: Final = 10_000
"""Spans of one request that are looked at; those after them are rejected."""
MAX_GROUPS: Final = 10_000
"""Resources and scopes of one request; one with more is refused."""
MAX_ATTRIBUTES: Final = 256
"""Of a span, of an event, of a resource, and members of a value that is a list or a dict. SDKs stop at 128."""
MAX_EVENTS: Final = 128
MAX_TEXT: Final = 64 << 10
"""Characters of one value."""
MAX_DEPTH: Final = 16

_GZIP_WINDOW: Final = 31
_HEX: Final = re.compile(r"[0-9a-f]+")
_KINDS: Final = {
    f"SPAN_KIND_{name}": number
    for number, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
}
_STATUS: Final = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
_ERROR: Final = 2


class OtlpError(Exception):
    """The request as a whole cannot be read. `too_large`: it is beyond a bound."""

    def __init__(self, problem: str, *, too_large: bool = False) -> None:
        super().__init__(problem)
        self.too_large = too_large


class Malformed(NamedTuple):
    """A span that cannot be read, or some too many."""

    problem: str
    spans: int = 1


def unpack(data: bytes) -> bytes:
    """What a gzip body holds. Raises OtlpError where it is broken, or larger than MAX_UNPACKED."""
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        unpacked = unpacker.decompress(data, MAX_UNPACKED)
    except zlib.error as error:
        raise OtlpError("the body is no gzip") from error
    if not unpacker.eof:
        if len(unpacked) >= MAX_UNPACKED or unpacker.unconsumed_tail:
            raise OtlpError(f"the body unpacks to more than {MAX_UNPACKED >> 20} MiB", too_large=True)
        raise OtlpError("the gzip body ends too early")
    if unpacker.unused_data:
        raise OtlpError("something follows the gzip body")
    return unpacked


def read(data: bytes, content_type: str) -> Iterator[Span | Malformed]:
    """The spans of a request, one after the other, so that the caller may pause between them.

    Raises OtlpError before the first one where the request is none.
    """
    return _bounded(*(_of_protobuf(data) if content_type == PROTOBUF else _of_json(data)))


def response(content_type: str, rejected: int, problem: str) -> bytes:
    """An ExportTraceServiceResponse in the encoding of the request. `problem` says why spans were rejected."""
    if content_type == PROTOBUF:
        message = ExportTraceServiceResponse()
        if rejected:
            message.partial_success.rejected_spans = rejected
            message.partial_success.error_message = problem
        return bytes(message.SerializeToString())
    partial = {"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": problem}} if rejected else {}
    return orjson.dumps(partial)


def status(problem: str) -> bytes:
    """A google.rpc.Status, which a refused request in protobuf is answered with: its one field `message`."""
    text = problem.encode()[:4096]
    length, rest = bytearray(), len(text)
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    return b"\x12" + bytes(length) + text


_Spans = tuple[Iterator[Span | Malformed], int]
"""The spans, and how many there are."""


def _bounded(spans: Iterator[Span | Malformed], total: int) -> Iterator[Span | Malformed]:
    yield from islice(spans, MAX_SPANS)
    if total > MAX_SPANS:
        yield Malformed(f"a request may hold {MAX_SPANS} spans", total - MAX_SPANS)


def _check_groups(number: int) -> None:
    """Nothing is said of those without spans, so that there would be no pause between them."""
    if number > MAX_GROUPS:
        raise OtlpError(f"a request may hold {MAX_GROUPS} resources and scopes", too_large=True)


class _Cut:
    """Whether a bound was met while a span was read."""

    __slots__ = ("happened",)

    def __init__(self) -> None:
        self.happened = False

    def text(self, text: str) -> str:
        if len(text) <= MAX_TEXT:
            return text
        self.happened = True
        return text[:MAX_TEXT]

    def few(self, items: Any, most: int) -> Any:
        if len(items) <= most:
            return items
        self.happened = True
        return items[:most]

    def deep(self, depth: int) -> bool:
        self.happened = self.happened or depth > MAX_DEPTH
        return depth > MAX_DEPTH


# Protobuf


def _of_protobuf(data: bytes) -> _Spans:
    try:
        request = ExportTraceServiceRequest.FromString(data)
    except DecodeError as error:
        raise OtlpError("the body is no ExportTraceServiceRequest in protobuf") from error
    groups = request.resource_spans
    _check_groups(len(groups))
    _check_groups(len(groups) + sum(len(group.scope_spans) for group in groups))
    return _walk_protobuf(request), sum(len(scoped.spans) for group in groups for scoped in group.scope_spans)


def _walk_protobuf(request: ExportTraceServiceRequest) -> Iterator[Span | Malformed]:
    for group in request.resource_spans:
        resource: Mapping[str, Any] | None = None
        for scoped in group.scope_spans:
            for raw in scoped.spans:
                if resource is None:
                    resource = _attributes(group.resource.attributes, _Cut())
                try:
                    yield _proto_span(raw, resource, scoped.scope.name[:256])
                except ValueError as error:
                    yield Malformed(str(error))


def _proto_span(raw: Any, resource: Mapping[str, Any], scope: str) -> Span:
    cut = _Cut()
    events = tuple(
        SpanEvent(event.name[:256], event.time_unix_nano, _attributes(event.attributes, cut))
        for event in cut.few(raw.events, MAX_EVENTS)
    )
    attributes = _attributes(raw.attributes, cut)
    return Span(
        _checked_id(raw.trace_id.hex(), 32, "trace id"),
        _checked_id(raw.span_id.hex(), 16, "span id"),
        _checked_parent(raw.parent_span_id.hex()),
        raw.name[:256],
        _checked_time(raw.start_time_unix_nano),
        raw.end_time_unix_nano,
        raw.kind,
        raw.status.code == _ERROR,
        cut.text(raw.status.message),
        attributes,
        events,
        resource,
        scope,
        raw.trace_state[:2048],
        cut.happened,
    )


def _attributes(pairs: Any, cut: _Cut, depth: int = 0) -> dict[str, Any]:
    return {pair.key[:256]: _value(pair.value, cut, depth) for pair in cut.few(pairs, MAX_ATTRIBUTES)}


def _value(value: Any, cut: _Cut, depth: int) -> Any:
    kind = value.WhichOneof("value")
    match kind:
        case "string_value":
            return cut.text(value.string_value)
        case "bool_value" | "int_value" | "double_value":
            return getattr(value, kind)
        case "bytes_value":
            return _omitted(len(value.bytes_value))
        case "array_value" if not cut.deep(depth + 1):
            return [_value(item, cut, depth + 1) for item in cut.few(value.array_value.values, MAX_ATTRIBUTES)]
        case "kvlist_value" if not cut.deep(depth + 1):
            return _attributes(value.kvlist_value.values, cut, depth + 1)
        case _:
            return None


# JSON


def _of_json(data: bytes) -> _Spans:
    try:
        request = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise OtlpError("the body is no JSON") from error
    if not isinstance(request, dict):
        raise OtlpError("the body is no ExportTraceServiceRequest: it should be an object with resourceSpans")
    groups = _list(request, "resourceSpans")
    if groups is None:
        raise OtlpError("resourceSpans is no list")
    _check_groups(len(groups))
    scopes = [_list(group, "scopeSpans") for group in groups]
    _check_groups(len(groups) + sum(len(each or ()) for each in scopes))
    spans = [_list(scoped, "spans") for each in scopes for scoped in each or ()]
    return _walk_json(groups), scopes.count(None) + sum(1 if each is None else len(each) for each in spans)


def _walk_json(groups: list[Any]) -> Iterator[Span | Malformed]:
    for group in groups:
        scopes = _list(group, "scopeSpans")
        if scopes is None:
            yield Malformed("resourceSpans holds what is none")
            continue
        resource: Mapping[str, Any] | None = None
        for scoped in scopes:
            spans = _list(scoped, "spans")
            if spans is None:
                yield Malformed("scopeSpans holds what is none")
                continue
            scope = scoped.get("scope")
            name = scope.get("name") if isinstance(scope, dict) else ""
            for raw in spans:
                if resource is None:
                    resource = _json_resource(group)
                try:
                    yield _json_span(raw, resource, name[:256] if isinstance(name, str) else "")
                except (ValueError, TypeError, OverflowError) as error:
                    yield Malformed(str(error) if type(error) is ValueError else "a span has a field of another type")


def _json_resource(group: dict[str, Any]) -> dict[str, Any]:
    resource = group.get("resource")
    try:
        return _json_attributes(resource.get("attributes") if isinstance(resource, dict) else None, _Cut())
    except (ValueError, TypeError, OverflowError):
        return {}  # its spans still say what they say of themselves


def _json_span(raw: Any, resource: Mapping[str, Any], scope: str) -> Span:
    if not isinstance(raw, dict):
        raise ValueError("a span is no object")  # noqa: TRY004  # one way out for all that is malformed
    cut = _Cut()
    ended = raw.get("status")
    ended = ended if isinstance(ended, dict) else {}
    events = tuple(_json_event(event, cut) for event in cut.few(_list(raw, "events") or [], MAX_EVENTS))
    attributes = _json_attributes(raw.get("attributes"), cut)
    return Span(
        _checked_id(_text(raw, "traceId").lower(), 32, "trace id"),
        _checked_id(_text(raw, "spanId").lower(), 16, "span id"),
        _checked_parent(_text(raw, "parentSpanId").lower()),
        _text(raw, "name")[:256],
        _checked_time(_whole(raw.get("startTimeUnixNano", 0))),
        _whole(raw.get("endTimeUnixNano", 0)),
        _enumerated(raw.get("kind", 0), _KINDS),
        _enumerated(ended.get("code", 0), _STATUS) == _ERROR,
        cut.text(_text(ended, "message")),
        attributes,
        events,
        resource,
        scope,
        _text(raw, "traceState")[:2048],
        cut.happened,
    )


def _json_event(raw: Any, cut: _Cut) -> SpanEvent:
    if not isinstance(raw, dict):
        raise ValueError("an event is no object")  # noqa: TRY004  # as above
    at = _whole(raw.get("timeUnixNano", 0))
    return SpanEvent(_text(raw, "name")[:256], at, _json_attributes(raw.get("attributes"), cut))


def _json_attributes(pairs: Any, cut: _Cut, depth: int = 0) -> dict[str, Any]:
    if pairs is None:
        return {}
    if not isinstance(pairs, list):
        raise ValueError("attributes are no list")  # noqa: TRY004  # as above
    return {
        _text(pair, "key")[:256]: _json_value(pair.get("value"), cut, depth) for pair in cut.few(pairs, MAX_ATTRIBUTES)
    }


def _json_value(value: Any, cut: _Cut, depth: int) -> Any:
    if not isinstance(value, dict) or not value:
        return None
    kind, held = next(iter(value.items()))
    match kind:
        case "stringValue":
            return cut.text(held if isinstance(held, str) else str(held))
        case "boolValue":
            return bool(held)
        case "intValue":
            return _whole(held, signed=True)
        case "doubleValue":
            return float(held)
        case "bytesValue":
            return _omitted(len(base64.b64decode(held)))
        case "arrayValue" if not cut.deep(depth + 1):
            items = cut.few(_list(held, "values") or [], MAX_ATTRIBUTES)
            return [_json_value(item, cut, depth + 1) for item in items]
        case "kvlistValue" if not cut.deep(depth + 1):
            return _json_attributes(held.get("values"), cut, depth + 1)
        case _:
            return None


def _list(holder: Any, name: str) -> list[Any] | None:
    """The list under a name; empty where there is nothing, None where it is something else."""
    if not isinstance(holder, dict):
        return None
    found = holder.get(name)
    if found is None:
        return []
    return found if isinstance(found, list) else None


def _text(holder: Any, name: str) -> str:
    if not isinstance(holder, dict):
        raise ValueError(f"{name} stands in no object")  # noqa: TRY004  # as above
    found = holder.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise ValueError(f"{name} is no text")  # noqa: TRY004  # as above
    return found


def _whole(value: Any, *, signed: bool = False) -> int:
    """A number of 64 bits, which JSON may write as text."""
    if isinstance(value, bool) or not isinstance(value, int | str) or len(str(value)) > 20:
        raise ValueError("a whole number is none")
    try:
        number = int(value)
    except ValueError:
        raise ValueError("a whole number is none") from None
    if not (-(1 << 63) <= number < (1 << 63) if signed else 0 <= number < (1 << 64)):
        raise ValueError("a whole number is beyond 64 bits")
    return number


def _enumerated(value: Any, names: Mapping[str, int]) -> int:
    if isinstance(value, str) and not value.isdecimal():
        if value not in names:
            raise ValueError("an enumeration has no such name")
        return names[value]
    return _whole(value)


# Both


def _checked_id(text: str, length: int, what: str) -> str:
    if len(text) != length or not _HEX.fullmatch(text) or not text.strip("0"):
        raise ValueError(f"a span has no {what}")
    return text


def _checked_parent(text: str) -> str:
    """Empty where it is a root; some write zeros then."""
    return _checked_id(text, 16, "parent's id that is one") if text.strip("0") else ""


def _checked_time(start: int) -> int:
    if start == 0:
        raise ValueError("a span has no start")
    return start


def _omitted(size: int) -> dict[str, Any]:
    return {"omitted": "not text, so it cannot be masked", "bytes": size}
