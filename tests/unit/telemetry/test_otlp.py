import contextlib
import gzip
from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from proxy.model.spans import Span, SpanEvent
from proxy.telemetry import otlp
from proxy.telemetry.otlp import JSON, MAX_ATTRIBUTES, MAX_TEXT, PROTOBUF, Malformed, OtlpError

TRACE, SPAN, PARENT = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "eee19b7ec3c1b173"
START, END = 1_544_712_660_000_000_000, 1_544_712_661_000_000_000


def in_json(**fields: Any) -> bytes:
    """The example of the specification, made fuller."""
    span = {
        "traceId": TRACE.upper(),
        "spanId": SPAN.upper(),
        "parentSpanId": PARENT.upper(),
        "traceState": "a=b",
        "name": "I'm a server span",
        "startTimeUnixNano": str(START),
        "endTimeUnixNano": END,
        "kind": 2,
        "attributes": [
            {"key": "text", "value": {"stringValue": "é"}},
            {"key": "yes", "value": {"boolValue": True}},
            {"key": "whole", "value": {"intValue": "-9007199254740993"}},
            {"key": "part", "value": {"doubleValue": 0.5}},
            {"key": "bytes", "value": {"bytesValue": "AAEC"}},
            {"key": "list", "value": {"arrayValue": {"values": [{"intValue": 1}, {}]}}},
            {"key": "map", "value": {"kvlistValue": {"values": [{"key": "a", "value": {"stringValue": "b"}}]}}},
            {"key": "none"},
        ],
        "events": [{"name": "e", "timeUnixNano": str(START), "attributes": []}],
        "status": {"code": 2, "message": "no"},
    } | fields
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]}
    scopes = [{"scope": {"name": "my.library"}, "spans": [span]}]
    return orjson.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]})


def in_protobuf() -> bytes:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value="my.service")))
    scoped = group.scope_spans.add()
    scoped.scope.name = "my.library"
    span = scoped.spans.add(
        trace_id=bytes.fromhex(TRACE), span_id=bytes.fromhex(SPAN), parent_span_id=bytes.fromhex(PARENT),
        trace_state="a=b", name="I'm a server span", start_time_unix_nano=START, end_time_unix_nano=END, kind=2,
    )  # fmt: skip
    values = {
        "text": AnyValue(string_value="é"),
        "yes": AnyValue(bool_value=True),
        "whole": AnyValue(int_value=-9007199254740993),
        "part": AnyValue(double_value=0.5),
        "bytes": AnyValue(bytes_value=b"\0\1\2"),
        "list": AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue()])),
        "map": AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="a", value=AnyValue(string_value="b"))])),
        "none": AnyValue(),
    }
    span.attributes.extend([KeyValue(key=name, value=value) for name, value in values.items()])
    span.events.add(name="e", time_unix_nano=START)
    span.status.code, span.status.message = 2, "no"
    return bytes(request.SerializeToString())


def read(data: bytes, content_type: str = JSON) -> list[Span | Malformed]:
    return list(otlp.read(data, content_type))


def one(data: bytes) -> Span:
    (span,) = read(data)
    assert isinstance(span, Span), span
    return span


@pytest.mark.parametrize(("data", "content_type"), [(in_json(), JSON), (in_protobuf(), PROTOBUF)])
def test_both_encodings_say_the_same(data: bytes, content_type: str) -> None:
    attributes = {
        "text": "é", "yes": True, "whole": -9007199254740993, "part": 0.5,
        "bytes": {"omitted": "not text, so it cannot be masked", "bytes": 3}, "list": [1, None], "map": {"a": "b"},
        "none": None,
    }  # fmt: skip
    assert read(data, content_type) == [
        Span(
            TRACE, SPAN, PARENT, "I'm a server span", START, END, 2, True, "no", attributes,
            (SpanEvent("e", START, {}),), {"service.name": "my.service"}, "my.library", "a=b",
        )
    ]  # fmt: skip


def test_enumerations_may_be_named() -> None:
    span = one(in_json(kind="SPAN_KIND_CLIENT", status={"code": "STATUS_CODE_OK"}))
    assert (span.kind, span.failed) == (3, False)


@pytest.mark.parametrize("parent", ["", "0000000000000000", None])
def test_a_root_has_no_parent(parent: str | None) -> None:
    assert one(in_json(parentSpanId=parent)).parent_id == ""


def test_what_a_later_version_adds_is_no_trouble() -> None:
    added = [{"key": "a", "value": {"someValue": 1}}]
    assert one(in_json(attributes=added, newField={"a": 1})).attributes == {"a": None}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"traceId": TRACE[:-2]}, "a span has no trace id"),
        ({"traceId": "W47/95gDgQPSabYzgT/GDA=="}, "a span has no trace id"),  # as protobuf's own mapping writes it
        ({"traceId": "0" * 32}, "a span has no trace id"),
        ({"traceId": 7}, "traceId is no text"),
        ({"spanId": None}, "a span has no span id"),
        ({"parentSpanId": "12"}, "a span has no parent's id that is one"),
        ({"startTimeUnixNano": 0}, "a span has no start"),
        ({"startTimeUnixNano": "soon"}, "a whole number is none"),
        ({"startTimeUnixNano": str(1 << 64)}, "a whole number is beyond 64 bits"),
        ({"endTimeUnixNano": -1}, "a whole number is beyond 64 bits"),
        ({"startTimeUnixNano": "9" * 5000}, "a whole number is none"),
        ({"kind": "SPAN_KIND_OTHER"}, "an enumeration has no such name"),
        ({"attributes": {}}, "attributes are no list"),
        ({"attributes": [7]}, "key stands in no object"),
        ({"attributes": [{"key": "a", "value": {"intValue": 1.5}}]}, "a whole number is none"),
        ({"attributes": [{"key": "a", "value": {"doubleValue": []}}]}, "a span has a field of another type"),
        ({"events": [7]}, "an event is no object"),
        ({"name": []}, "name is no text"),
    ],
)
def test_these_are_malformed(fields: dict[str, Any], problem: str) -> None:
    assert read(in_json(**fields)) == [Malformed(problem)]


@pytest.mark.parametrize(
    ("document", "count"),
    [
        ({"resourceSpans": [7]}, 1),
        ({"resourceSpans": [{"scopeSpans": 7}]}, 1),
        ({"resourceSpans": [{"scopeSpans": [7, {"spans": "a"}]}]}, 2),
        ({"resourceSpans": [{"scopeSpans": [{"spans": [None, []]}]}]}, 2),
        ({"resourceSpans": [{"resource": 7, "scopeSpans": [{"scope": 7, "spans": []}]}]}, 0),
        ({"resourceSpans": None}, 0),
        ({}, 0),
    ],
)
def test_so_is_what_stands_where_spans_should(document: object, count: int) -> None:
    found = read(orjson.dumps(document))
    assert len(found) == count
    assert all(isinstance(each, Malformed) for each in found)


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"", JSON),
        (b"[]", JSON),
        (b'{"resourceSpans": {}}', JSON),
        (b"[" * 100_000, JSON),
        (b"\xff\xff", PROTOBUF),
        (in_protobuf()[:-3], PROTOBUF),
        (in_json(), PROTOBUF),
    ],
    ids=["empty", "a list", "no list", "too deep", "garbage", "cut", "the other"],
)
def test_a_request_that_is_none_is_refused_at_once(data: bytes, content_type: str) -> None:
    with pytest.raises(OtlpError):
        otlp.read(data, content_type)


def test_nothing_that_is_garbage_raises_anything_else() -> None:
    whole = in_protobuf()
    for place in range(len(whole)):
        for byte in (b"\0", b"\x7f", b"\xff"):
            with contextlib.suppress(OtlpError):
                read(whole[:place] + byte + whole[place + 1 :], PROTOBUF)


def test_bounds_cut_and_say_so() -> None:
    text = {"stringValue": "x" * (MAX_TEXT + 1)}
    assert len(one(in_json(attributes=[{"key": "a", "value": text}])).attributes["a"]) == MAX_TEXT
    many = [{"key": f"{number}", "value": {"intValue": number}} for number in range(MAX_ATTRIBUTES + 1)]
    assert len(one(in_json(attributes=many)).attributes) == MAX_ATTRIBUTES
    deep: dict[str, Any] = {"intValue": 1}
    for _ in range(50):
        deep = {"arrayValue": {"values": [deep]}}
    events = [{"name": "e", "timeUnixNano": 1}] * (otlp.MAX_EVENTS + 1)
    assert len(one(in_json(events=events)).events) == otlp.MAX_EVENTS
    for fields in ({"attributes": [{"key": "a", "value": deep}]}, {"attributes": many}, {"events": events}):
        assert one(in_json(**fields)).cut
    assert not one(in_json()).cut


def test_a_request_may_hold_so_many_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MAX_SPANS", 1)
    document = orjson.loads(in_json())
    spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans += [1, *spans]
    first, rest = read(orjson.dumps(document))
    assert isinstance(first, Span)
    assert rest == Malformed("a request may hold 1 spans", 2)


def length_prefixed(tag: int, content: bytes) -> bytes:
    size, prefix = len(content), bytearray((tag,))
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*prefix, size)) + content


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        (JSON, b'{"resourceSpans":[' + b"{}," * 1_000_000 + b"{}]}"),
        (JSON, b'{"resourceSpans":[{"scopeSpans":[' + b"{}," * 1_000_000 + b"{}]}]}"),
        (PROTOBUF, b"\x0a\x00" * 1_000_000),
        (PROTOBUF, length_prefixed(0x0A, b"\x12\x00" * 1_000_000)),
    ],
)
def test_a_request_of_nothing_is_refused_at_once(content_type: str, data: bytes) -> None:
    with pytest.raises(OtlpError, match="a request may hold 10000 resources and scopes") as refused:
        otlp.read(data, content_type)
    assert refused.value.too_large


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        (JSON, b'{"resourceSpans":[7,{"scopeSpans":[7,{"spans":[' + b"1," * 100_000 + b"1]}]}]}"),
        (PROTOBUF, length_prefixed(0x0A, length_prefixed(0x12, b"\x12\x00" * 100_003))),
    ],
)
def test_what_is_too_many_is_counted_and_not_looked_at(content_type: str, data: bytes) -> None:
    found = list(otlp.read(data, content_type))
    assert len(found) == otlp.MAX_SPANS + 1
    assert sum(each.spans for each in found if isinstance(each, Malformed)) == 100_003


# Gzip


def test_gzip_is_unpacked() -> None:
    assert otlp.unpack(gzip.compress(b"hello")) == b"hello"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        gzip.compress(b"hello", mtime=0)[:-1],
        gzip.compress(b"a", mtime=0) + b"b",
        gzip.compress(b"a", mtime=0) * 2,
    ],
)
def test_what_is_no_gzip_is_refused(data: bytes) -> None:
    with pytest.raises(OtlpError) as raised:
        otlp.unpack(data)
    assert not raised.value.too_large


def test_a_bomb_is_refused_without_unpacking_it() -> None:
    with pytest.raises(OtlpError) as raised:
        otlp.unpack(gzip.compress(b"\0" * (otlp.MAX_UNPACKED + 1)))
    assert raised.value.too_large
    assert len(otlp.unpack(gzip.compress(b"\0" * otlp.MAX_UNPACKED))) == otlp.MAX_UNPACKED


# Answers


def test_an_answer_without_rejected_spans_is_empty() -> None:
    assert (otlp.response(JSON, 0, ""), otlp.response(PROTOBUF, 0, "")) == (b"{}", b"")


def test_an_answer_says_what_was_rejected() -> None:
    expected = {"partialSuccess": {"rejectedSpans": "3", "errorMessage": "no"}}
    assert orjson.loads(otlp.response(JSON, 3, "no")) == expected
    partial = ExportTraceServiceResponse.FromString(otlp.response(PROTOBUF, 3, "no")).partial_success
    assert (partial.rejected_spans, partial.error_message) == (3, "no")


@pytest.mark.parametrize("text", ["", "no", "é" * 100, "x" * 300, "x" * 9000])
def test_a_status_is_one_in_protobuf(text: str) -> None:
    # A trace's state is also a text in a message: field 3 of a span. Ours is field 2, so read it by hand.
    data = otlp.status(text)
    assert data[0] == 0x12
    length, place, shift = 0, 1, 0
    while True:
        length |= (data[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if data[place - 1] < 0x80:
            break
    assert data[place:] == text.encode()[:4096]
    assert len(data) - place == length
