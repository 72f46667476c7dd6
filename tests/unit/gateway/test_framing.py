"""Where a chunked body ends, however its bytes are cut. The cases of malformed ones are in tests/integration."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gateway.framing import Chunks, TooLongError, is_answer

BODY = b'3\r\nabc\r\n0a;x="\\""\r\n' + b"\r\n0\r\n\r\nabc" + b"\r\n00\r\nA: b\r\nC: d\r\n\r\n"


@given(st.lists(st.integers(0, len(BODY)), max_size=8))
def test_the_end_is_found_in_any_pieces(cuts: list[int]) -> None:
    chunks = Chunks(100)
    marks = sorted({0, len(BODY), *cuts})
    for start, end in pairwise(marks):
        assert not chunks.ended
        assert chunks.check(BODY[start:end], 0) == end - start
    assert chunks.ended


def test_what_comes_behind_is_not_looked_at() -> None:
    chunks = Chunks(100)
    assert chunks.check(b"head" + BODY + b"GET / HTTP/1.1", 4) == 4 + len(BODY)
    assert chunks.ended


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_trailer_may_be_as_long_as_the_limit(step: int) -> None:
    trailer = b"A: " + b"b" * 50 + b"\r\n\r\n"

    def check(limit: int) -> bool:
        chunks, data = Chunks(limit), b"0\r\n" + trailer
        for at in range(0, len(data), step):
            chunks.check(data[at : at + step], 0)
        return chunks.ended

    assert check(len(trailer))
    with pytest.raises(TooLongError):
        check(len(trailer) - 1)


def test_extensions_have_their_own_limit() -> None:
    chunks = Chunks(100)
    with pytest.raises(TooLongError):
        for _ in range(5000):
            chunks.check(b"0;a=" if not _ else b"b", 0)


@pytest.mark.parametrize(
    ("start", "old"),
    [(b"HTTP/1.1 ", False), (b"HTTP/1.0 ", True), (b"HTTP/1.7 ", False), (b"HTT", False), (b"XY", False)],
)
def test_how_an_answer_begins(start: bytes, old: bool) -> None:
    assert is_answer(start) == old


@pytest.mark.parametrize("start", [b"HTTP/2.0 ", b"RTSP/1.0 ", b"\r\nHTTP/1.", b"HTTP/1.1\t", b"HTTP/1.x "])
def test_what_is_no_answer(start: bytes) -> None:
    with pytest.raises(ValueError, match="does not begin like an answer"):
        is_answer(start)
