"""Masking what must not be kept: members by their name, credentials by their look.

Names are compared without case, `-` and `_`: `api_key` hides `apiKey` and `API-Key`. A name hides its whole value. In
JSON that is exact. In other text (a form, JSON that was cut off, `name: value` lines, multipart fields, XML) a name is
found by what follows it, and where the end of its value cannot be told, all the rest is masked.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

import orjson

from proxy.outcomes import body
from proxy.outcomes.body import Body, Kind

MASK: Final = "[redacted]"

_CREDENTIAL_HEADER: Final = re.compile(
    r"authoriz|authent|^x-auth(?!or)|-auth$|cookie|token|secret|passw|credential|api-?key|signature|private",
    re.IGNORECASE,
)
"""Header names whose values are never kept, whatever the allow-list says."""

_LOOK: Final = re.compile(
    r"""(?<![\w-])eyJ[\w-]{5,}(?:\.[\w-]*){2,4}     # a JSON web token: eyJ is {" in base64url
    |   \b(?i:bearer|basic)\s+              # an Authorization value; the word after a bearer in prose has no digit
        (?: (?=[^\s\d]{0,200}\d)[\w.~+/=-]{8,} | [\w.~+/=-]{24,} )""",
    re.VERBOSE,
)

_LINE: Final = re.compile(r"""(?<![\w-])(?P<name>[\w-]{1,64})["']?\s{0,8}:\s*""")
_LINE_VALUE: Final = re.compile(
    r""" "(?:[^"\\]|\\.)*"?\\? | '(?:[^'\\]|\\.)*'?\\? | [\[{].* |
    (?:-?\d[\d.eE+-]*|true|false|null)(?=\s*[,}\]]) | [^\r\n]*""",
    re.VERBOSE | re.DOTALL,
)
_FORM: Final = re.compile(r"(?:(?<![\w-])|(?<=%5B)|(?<=%5b))(?P<name>[A-Za-z_-][\w-]{0,63})(?:\]|%5[dD])?=(?!=)")
_FORM_VALUE: Final = re.compile(r""" "[^"]*"? | '[^']*'? | [^&;\s<>"']*""", re.VERBOSE)
_FIELD: Final = re.compile(
    r"""\bname="(?P<name>[^"\r\n]{1,64})"[^\r\n]{0,1000}\r?\n(?:[^\r\n]{1,1000}\r?\n){0,20}\r?\n"""
)
_FIELD_VALUE: Final = re.compile(r".*?(?=\r?\n--|\Z)", re.DOTALL)
_ELEMENT: Final = re.compile(r"<(?P<tag>(?:[\w.-]{1,64}:)?(?P<name>[\w.-]{1,64}))(?:\s[^<>]{0,1000})?(?<!/)>")


class Redactor:
    """Masks by a list of member names. Pure: what comes in is never changed."""

    __slots__ = ("_covers", "_hides", "nothing")

    def __init__(self, names: Iterable[str]) -> None:
        hidden = frozenset(_plain(name) for name in names)
        self.nothing = not hidden
        # Bodies repeat their member names, so what a name comes to is remembered for the latest 4096.
        self._hides: Callable[[str], bool] = lru_cache(maxsize=4096)(lambda name: _plain(name) in hidden)
        self._covers: Callable[[str], bool] = lru_cache(maxsize=4096)(
            lambda name: bool(_CREDENTIAL_HEADER.search(name)) or self._hides(name)
        )

    def hides(self, name: str) -> bool:
        """The value of a member so called must not be kept."""
        return self._hides(name)

    def body(self, content: Body) -> Any:
        """What to keep of a body: the masked JSON value, the masked text, or None without one.

        Bytes that are no text cannot be masked, so of them only the size is kept.
        """
        match content.kind:
            case Kind.JSON:
                return self._value(content.value, _SCALARS if _suspicious(content.raw) else _LEAVES)
            case Kind.TEXT:
                return self.text(content.value)
            case Kind.BINARY:
                return {"omitted": "not text, so it cannot be masked", "bytes": len(content.raw)}
            case Kind.NONE:
                return None

    def value(self, value: Any) -> Any:
        """A decoded JSON value with its hidden members and its credentials masked."""
        return self._value(value, _SCALARS)

    def text(self, text: str) -> str:
        """Text that is not JSON, masked as well as names can be found in it."""
        text = look(text)
        # Most prose has none of the signs that names are found by, and a search for a sign costs nearly nothing.
        if 'name="' in text:
            text = self._cover(text, _FIELD, lambda found: _end(_FIELD_VALUE, found))
        if "<" in text:
            text = self._cover(text, _ELEMENT, _element_end)
        if "=" in text:
            text = self._cover(text, _FORM, lambda found: _end(_FORM_VALUE, found))
        if ":" in text:
            text = self._cover(text, _LINE, lambda found: _end(_LINE_VALUE, found))
        return text

    def headers(self, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Recorded headers by name, repeated ones joined by a comma; credentials are masked."""
        kept: dict[str, str] = {}
        for name, value in headers:
            shown = MASK if self._covers(name) else look(value)
            kept[name] = f"{kept[name]}, {shown}" if name in kept else shown
        return kept

    def _value(self, value: Any, leaves: frozenset[type]) -> Any:
        """`leaves` are the types that need no look. Depth is bounded by `body.MAX_DEPTH`."""
        kind = type(value)
        if kind is dict:
            hides = self._hides
            return {
                name: MASK if hides(name) else item if type(item) in leaves else self._value(item, leaves)
                for name, item in value.items()
            }
        if kind is list:
            return [item if type(item) in leaves else self._value(item, leaves) for item in value]
        if kind is str and kind not in leaves:
            return self._string(value)
        return value

    def _string(self, text: str) -> str:
        """A string within JSON: it may be JSON itself, as in many webhooks, or hold a URL or a form."""
        if text.lstrip()[:1] in _OPENING:
            inner = body.read(text.encode(), truncated=False)
            if inner.kind is Kind.JSON:
                masked = self._value(inner.value, _SCALARS)
                return text if masked == inner.value else orjson.dumps(masked).decode()
        if "=" in text:
            text = self._cover(text, _FORM, lambda found: _end(_FORM_VALUE, found))
        return look(text)

    def _cover(self, text: str, names: re.Pattern[str], end: Callable[[re.Match[str]], int]) -> str:
        """Mask, after each hidden name that `names` finds, up to `end`."""
        kept: list[str] = []
        done = 0
        for found in names.finditer(text):
            if found.start() >= done and self._hides(found["name"]):
                kept += (text[done : found.end()], MASK)
                done = max(end(found), found.end())
        return "".join((*kept, text[done:])) if kept else text


_SCALARS: Final[frozenset[type]] = frozenset({int, float, bool, type(None)})
_LEAVES: Final[frozenset[type]] = _SCALARS | {str}
_OPENING: Final = frozenset("{[")


def look(text: str) -> str:
    """`text` with everything masked that looks like a credential: JSON web tokens, Authorization values."""
    if text.isascii() and "eyJ" not in text and "bearer" not in (lower := text.lower()) and "basic" not in lower:
        return text
    return _LOOK.sub(MASK, text)


def _suspicious(raw: bytes) -> bool:
    """Whether a JSON document may hold a string that needs a look: a credential by its look, however it is escaped, a
    `name=value`, or a string that is a JSON document itself.

    A search for each sign takes a tenth of what one regular expression for all takes, and one for a single byte a tenth
    of that: so nothing is searched for that a single byte rules out.
    """
    if b"=" in raw or b'"{' in raw or b'"[' in raw or b"eyJ" in raw:
        return True
    if b"\\" in raw:
        if b"\\u" in raw or b'"\\' in raw:
            return True
    elif b" " not in raw and raw.isascii():
        return False  # no space, which follows `bearer` and `basic`: any other kind of it is escaped, or not ASCII
    lower = raw.lower()
    return b"bearer" in lower or b"basic" in lower or b'" ' in raw


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


def _end(value: re.Pattern[str], found: re.Match[str]) -> int:
    covered = value.match(found.string, found.end())
    return covered.end() if covered else found.end()


def _element_end(found: re.Match[str]) -> int:
    """Where the XML element ends; the end of the text where it does not."""
    end = found.string.find(f"</{found['tag']}", found.end())
    return end if end >= 0 else len(found.string)
