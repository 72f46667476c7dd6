"""Bodies as they come: JSON, text, bytes, compressed, cut off, and made to hurt."""

import gzip
from typing import Any

import orjson
import pytest

from proxy.outcomes.body import FREE, MAX_DEPTH, MAX_UNPACKED, NO_BODY, Body, Kind, read


@pytest.mark.parametrize(
    ("data", "kind", "value"),
    [
        (b'{"a": 1}', Kind.JSON, {"a": 1}),
        (b"null", Kind.JSON, None),
        (b"12.5", Kind.JSON, 12.5),
        (b"a=1&b=2", Kind.TEXT, "a=1&b=2"),
        ("grüß".encode(), Kind.TEXT, "grüß"),
        (b"{broken", Kind.TEXT, "{broken"),
        (b"\xff\xd8\xff\xe0", Kind.BINARY, b"\xff\xd8\xff\xe0"),
        (b'{"a": NaN}', Kind.TEXT, '{"a": NaN}'),
        (b'"\\ud800"', Kind.TEXT, '"\\ud800"'),
    ],
)
def test_a_whole_body(data: bytes, kind: Kind, value: Any) -> None:
    assert read(data, truncated=False) == Body(kind, value, data)


@pytest.mark.parametrize("data", [None, b""])
def test_no_body(data: bytes | None) -> None:
    assert read(data, truncated=False) == NO_BODY
    assert read(data, truncated=True).whole is False


def test_a_beginning_is_text_even_where_it_parses() -> None:
    assert read(b"12", truncated=True) == Body(Kind.TEXT, "12", b"12", whole=False)


def test_a_beginning_may_end_within_a_character() -> None:
    cut = "naïve ü".encode()[:-1]
    assert read(cut, truncated=True).value == "naïve "
    assert read(cut, truncated=False).kind is Kind.BINARY


def test_gzip_is_unpacked() -> None:
    body = read(gzip.compress(b'{"a": 1}'), truncated=False)
    assert body == Body(Kind.JSON, {"a": 1}, b'{"a": 1}')


def test_a_gzip_bomb_is_unpacked_up_to_the_bound() -> None:
    bomb = gzip.compress(b"a" * (50 * MAX_UNPACKED))
    body = read(bomb, truncated=False)
    assert (body.kind, body.whole, len(body.raw)) == (Kind.TEXT, False, MAX_UNPACKED)
    small = read(gzip.compress(b"a" * MAX_UNPACKED), truncated=False)
    assert (small.kind, small.whole) == (Kind.TEXT, False)
    assert len(small.raw) < 2 * FREE


def test_half_a_gzip_body_is_a_beginning() -> None:
    packed = gzip.compress(orjson.dumps({"text": [str(n) for n in range(1000)]}))
    body = read(packed[: len(packed) // 2], truncated=True)
    assert (body.kind, body.whole) == (Kind.TEXT, False)
    assert body.value.startswith('{"text":["0","1"')


def test_what_only_looks_like_gzip_is_bytes() -> None:
    assert read(b"\x1f\x8b\x08nonsense\xff", truncated=False).kind is Kind.BINARY


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def test_json_is_json_up_to_the_deepest_nesting_and_text_beyond() -> None:
    assert read(nested(MAX_DEPTH), truncated=False).kind is Kind.JSON
    assert read(nested(MAX_DEPTH + 1), truncated=False).kind is Kind.TEXT
    assert read(b"[" * 1000 + b"]" * 1000, truncated=False).kind is Kind.TEXT
    assert read(b"[" * 5000 + b"]" * 5000, truncated=False).kind is Kind.TEXT


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert read(orjson.dumps([[{}]] * 500), truncated=False).kind is Kind.JSON
    assert read(orjson.dumps("[" * 500), truncated=False).kind is Kind.JSON
