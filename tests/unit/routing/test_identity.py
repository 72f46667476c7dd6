"""Whose request it is: sources tried in their order."""

import pytest

from proxy.model.snapshot import KeySource
from proxy.routing.identity import find_key, noted_names, sources

HEADER, COOKIE = KeySource("header", "x-user-id"), KeySource("cookie", "sid")
QUERY, CLIENT = KeySource("query", "user"), KeySource("client_ip")


@pytest.mark.parametrize(
    ("keys", "noted", "query", "expected"),
    [
        ([HEADER], [(b"x-user-id", b"u1")], b"", b"u1"),
        ([HEADER], [(b"x-user-id", b"u1"), (b"x-user-id", b"u2")], b"", b"u1"),
        ([HEADER], [(b"x-user-id", b"")], b"", None),
        ([HEADER], [], b"", None),
        ([COOKIE], [(b"cookie", b"a=1; sid=s7; b=2")], b"", b"s7"),
        ([COOKIE], [(b"cookie", b"a=1"), (b"cookie", b'sid="quoted"')], b"", b"quoted"),
        ([COOKIE], [(b"cookie", b"xsid=1; sid")], b"", None),
        ([QUERY], [], b"a=1&user=bob%40x+y", b"bob@x y"),
        ([QUERY], [], b"%75ser=bob", b"bob"),
        ([QUERY], [], b"user=", None),
        ([CLIENT], [], b"", b"10.0.0.1"),
        ([HEADER, COOKIE, CLIENT], [(b"cookie", b"sid=s7")], b"", b"s7"),
        ([HEADER, COOKIE, CLIENT], [(b"cookie", b"sid=s7"), (b"x-user-id", b"u1")], b"", b"u1"),
        ([HEADER, CLIENT], [], b"", b"10.0.0.1"),
    ],
)
def test_cases(keys: list[KeySource], noted: list[tuple[bytes, bytes]], query: bytes, expected: bytes | None) -> None:
    assert find_key(sources(keys), noted, query, b"10.0.0.1") == expected


def test_the_headers_that_have_to_be_seen() -> None:
    assert noted_names([HEADER, COOKIE, QUERY, CLIENT]) == {b"x-user-id", b"cookie"}
