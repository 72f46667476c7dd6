"""Takes secrets out of what is about to be logged or shown, by the name of the field and by the look of the text."""

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "***"
MAX_TEXT: Final = 8192
"""Characters of one logged text; what is over it is left off, with its length."""
_MAX_DEPTH: Final = 6

_SECRET: Final = re.compile(
    r"authorization|cookie|token|passw(or)?d|passphrase|secret|credential|api[-_]?key|private[-_]?key", re.IGNORECASE
)
_NO_SECRET: Final = re.compile(r"_(file|path|name|count)=?$", re.IGNORECASE)
_URL_CREDENTIALS: Final = re.compile(r"(?<=://)[^/?#\s@]*:[^/?#\s]*(?=@)|(?<=://)[^/?#\s@]+(?=@)")
_PARAMETER: Final = re.compile(r"([?&][^=&#\s]+=)[^&#\s]*")
_BEARER: Final = re.compile(r"(?<=\bbearer )[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether a field, header or member of this name holds a secret (`tokens_file` does not: it holds a path)."""
    return _SECRET.search(name) is not None and _NO_SECRET.search(name) is None


def mask(value: Any, name: str = "", depth: int = 0) -> Any:
    """`value` with secrets replaced, at any depth of dicts and lists, and with text fit for JSON in UTF-8."""
    if name and is_secret(name) and value is not None and not isinstance(value, bool):
        return MASK
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray):
        return mask_text(bytes(value[: MAX_TEXT + 1]).decode("utf-8", "backslashreplace"))
    if depth < _MAX_DEPTH:
        if isinstance(value, Mapping):
            return {str(key): mask(each, str(key), depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [mask(each, depth=depth + 1) for each in value]
    return mask_text(str(value))


def mask_text(text: str) -> str:
    """Without the credentials of URLs, secret query parameters and bearer tokens, and not longer than MAX_TEXT."""
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}… ({len(text) - MAX_TEXT} more characters)"
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate is no UTF-8
    if "://" in text:
        text = _URL_CREDENTIALS.sub(MASK, text)
    if "=" in text:
        text = _PARAMETER.sub(lambda found: f"{found[1]}{MASK}" if is_secret(found[1]) else found[0], text)
    return _BEARER.sub(MASK, text)
