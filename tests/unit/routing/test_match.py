"""Which route: longest prefix first, then the more particular one."""

import pytest

from proxy.model.snapshot import MatchSpec
from proxy.routing.match import Matcher

SPECS = {
    "everything": MatchSpec("/"),
    "refunds": MatchSpec("/refunds"),
    "posts": MatchSpec("/refunds", methods=frozenset({"POST"})),
    "shop": MatchSpec("/refunds", host="shop.example"),
    "beta": MatchSpec("/refunds", host="shop.example", headers=(("x-beta", "1"),)),
    "deep": MatchSpec("/refunds/deep/"),
}
NAMES = list(SPECS)


@pytest.mark.parametrize(
    ("method", "host", "path", "noted", "expected"),
    [
        (b"GET", b"a", b"/", [], "everything"),
        (b"GET", b"a", b"/other", [], "everything"),
        (b"GET", b"a", b"/refundsx", [], "everything"),
        (b"GET", b"a", b"/refunds", [], "refunds"),
        (b"GET", b"a", b"/refunds/1", [], "refunds"),
        (b"POST", b"a", b"/refunds/1", [], "posts"),
        (b"POST", b"shop.example", b"/refunds", [], "shop"),
        (b"GET", b"SHOP.example:8080", b"/refunds", [], "shop"),
        (b"GET", b"shop.example.evil", b"/refunds", [], "refunds"),
        (b"GET", b"shop.example", b"/refunds", [(b"x-beta", b"1")], "beta"),
        (b"GET", b"shop.example", b"/refunds", [(b"x-beta", b"2")], "shop"),
        (b"GET", b"a", b"/refunds/deep", [], "deep"),
        (b"GET", b"a", b"/refunds/deep/er", [], "deep"),
        (b"GET", b"a", b"/refunds/deeper", [], "refunds"),
        (b"GET", b"a", b"/%72efunds", [], "everything"),
    ],
)
def test_cases(method: bytes, host: bytes, path: bytes, noted: list[tuple[bytes, bytes]], expected: str) -> None:
    assert NAMES[Matcher(SPECS.values()).find(method, host, path, noted)] == expected


def test_nothing_matches() -> None:
    assert Matcher([MatchSpec("/a"), MatchSpec("/b", host="x")]).find(b"GET", b"y", b"/b", []) == -1


def test_among_equals_the_first_in_the_file_wins() -> None:
    specs = [MatchSpec("/a", methods=frozenset({"GET"})), MatchSpec("/a", methods=frozenset({"GET", "PUT"}))]
    assert Matcher(specs).find(b"GET", b"", b"/a", []) == 0
