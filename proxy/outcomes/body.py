"""A kept body, decoded once: JSON where it is JSON, else text, else bytes.

Bodies are what the arms and the clients sent, so nothing is trusted: compressed ones are unpacked up to a bound, and
JSON nested deeper than MAX_DEPTH counts as text, because everything after this walks it recursively.
"""

import codecs
import zlib
from enum import Enum
from typing import Any, Final, NamedTuple

import orjson

MAX_DEPTH: Final = 64
MAX_UNPACKED: Final = 1 << 20
FREE: Final = 64 << 10
MAX_RATIO: Final = 32
"""Bytes a compressed body may unpack to: MAX_UNPACKED, and no more than MAX_RATIO times its own beyond FREE. JSON packs
to a tenth; what packs to a thousandth was made to keep its reader busy."""

_UTF8: Final = codecs.getincrementaldecoder("utf-8")
_GZIP: Final = b"\x1f\x8b\x08"
_GZIP_WINDOW: Final = 31  # zlib: expect a gzip header, largest window


class Kind(Enum):
    NONE = "none"
    JSON = "json"
    TEXT = "text"
    BINARY = "binary"


class Body(NamedTuple):
    """`value` is the decoded JSON, the text or the bytes, `raw` the unpacked bytes.

    `whole` is False for a beginning."""

    kind: Kind
    value: Any = None
    raw: bytes = b""
    whole: bool = True


NO_BODY: Final = Body(Kind.NONE)


def read(data: bytes | None, truncated: bool) -> Body:
    """The body of `data`; `truncated` says that it is a beginning only, which is never JSON."""
    if not data:
        return NO_BODY if not truncated else Body(Kind.NONE, whole=False)
    if data.startswith(_GZIP):
        data, cut = _unpack(data)
        truncated = truncated or cut
    if not truncated:
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
        else:
            if not _deep(data, value):
                return Body(Kind.JSON, value, data)
    try:
        text = _UTF8().decode(data, final=not truncated)  # a beginning may end within a character
    except UnicodeDecodeError:
        return Body(Kind.BINARY, data, data, not truncated)
    return Body(Kind.TEXT, text, data, not truncated)


def _unpack(data: bytes) -> tuple[bytes, bool]:
    """What a gzip body holds, and whether that is a beginning only; the bytes as they are where it is broken."""
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        unpacked = unpacker.decompress(data, min(MAX_UNPACKED, FREE + MAX_RATIO * len(data)))
    except zlib.error:
        return data, False
    return unpacked, not unpacker.eof


def _deep(data: bytes, value: Any) -> bool:
    """Nested deeper than MAX_DEPTH. Counting brackets settles nearly every body without walking it."""
    if data.count(b"{") + data.count(b"[") <= MAX_DEPTH:
        return False
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            return True
        level = [
            child
            for node in level
            if type(node) is dict or type(node) is list
            for child in (node.values() if type(node) is dict else node)
        ]
    return False
