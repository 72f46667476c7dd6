"""What llhttp does not look at closely enough, checked in its own bytes: how an answer begins, and chunks.

llhttp lets pass what two readers could take differently: extensions without a name or a value, sizes that do not fit
into a signed number. Here a size line is as RFC 9112 has it (section 7.1), but without the white space it calls bad, or
the body is no body. The fields of a trailer are llhttp's to judge; only their end is looked for.
"""

import re
from typing import Final

_ANSWER: Final = re.compile(rb"HTTP/1\.[0-9] ")
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_SIZE_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})(?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*\r\n"
)
_LONGEST_LINE: Final = 4096
"""Bytes of a size line, its extensions included."""
_TOO_LARGE: Final = 1 << 63


def is_answer(start: bytes) -> bool:
    """Whether an answer that begins so (9 bytes, or as many as there are yet) is HTTP/1.0's. Raises ValueError where it
    is not HTTP/1's at all: llhttp would take other protocols' answers, and an empty line before."""
    if len(start) == 9 and not _ANSWER.fullmatch(start):
        raise ValueError("it does not begin like an answer of HTTP/1.1")
    return start == b"HTTP/1.0 "


class TooLongError(ValueError):
    """Well-formed as far as it goes, but more of it than anybody needs."""


class Chunks:
    """Where one chunked body stands. `ended`: its last byte has been seen. `max_trailer` is in bytes."""

    __slots__ = ("_in_trailer", "_left", "_line", "_max_trailer", "_trailer", "ended")

    def __init__(self, max_trailer: int) -> None:
        self._max_trailer = max_trailer
        self._left = self._trailer = 0
        self._line = b""
        self._in_trailer = self.ended = False

    def check(self, data: bytes, place: int) -> int:
        """Check what `data` holds of the body from `place` on; where the body ends there, or the end of `data`. Raises
        ValueError on a size line that is not well-formed."""
        size = len(data)
        while place < size and not self.ended:
            if self._left:  # of a chunk's bytes and the line end behind them, which llhttp looks at
                step = min(self._left, size - place)
                self._left -= step
                place += step
                continue
            end = data.find(b"\n", place) + 1
            line = self._line + data[place : end or size]
            place = end or size
            if self._in_trailer:
                self._take_field(line, len(line) - len(self._line))
            elif len(line) > _LONGEST_LINE:
                raise TooLongError("a chunk's extensions are too long")
            elif end:
                self._take_size(line)
            self._line = b"" if end else line
        return place

    def _take_size(self, line: bytes) -> None:
        found = _SIZE_LINE.fullmatch(line)
        if found is None:
            raise ValueError("a chunk's size line is not well-formed")
        length = int(found[1], 16)
        if length >= _TOO_LARGE:
            raise ValueError("a chunk is too large")
        if length:
            self._left = length + 2
        else:
            self._in_trailer = True

    def _take_field(self, line: bytes, more: int) -> None:
        """A field of the trailer, or what there is of it, with `more` new bytes; or the empty line at the end."""
        self._trailer += more
        if self._trailer > self._max_trailer:
            raise TooLongError(f"the trailers are over {self._max_trailer} bytes")
        self.ended = line == b"\r\n"
