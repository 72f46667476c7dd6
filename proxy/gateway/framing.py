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


class Chunks:
    """Where one chunked body stands. `ended`: its last byte has been seen."""

    __slots__ = ("_in_trailer", "_left", "_line", "ended")

    def __init__(self) -> None:
        self._left = 0
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
            if end:
                self._line = b""
                self._take(line)
            elif self._in_trailer:
                self._line = line[:3]  # enough to know an empty line by
            else:
                if len(line) > _LONGEST_LINE:
                    raise ValueError("a chunk's size line is too long")
                self._line = line
            place = end or size
        return place

    def _take(self, line: bytes) -> None:
        if self._in_trailer:
            self.ended = line == b"\r\n"
            return
        found = _SIZE_LINE.fullmatch(line)
        if found is None or len(line) > _LONGEST_LINE:
            raise ValueError("a chunk's size line is not well-formed")
        length = int(found[1], 16)
        if length >= _TOO_LARGE:
            raise ValueError("a chunk is too large")
        if length:
            self._left = length + 2
        else:
            self._in_trailer = True
