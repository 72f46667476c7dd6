"""What is done with each header, decided once per spelling and remembered.

A name is looked up as it was spelled: one dictionary access per header on the hot path. Rules: RFC 9110 section 7.6.1
(hop-by-hop), RFC 9112 section 6 (framing is rebuilt, never passed on).
"""

from typing import Final

PASS: Final = 0
NOTE: Final = 1
"""Passed on, and remembered by name: someone (key, match, record, an upstream's set_headers) wants to see it."""
DROP: Final = 2
HOST: Final = 3
LENGTH: Final = 4
CODING: Final = 5
CONNECTION: Final = 6
EXPECT: Final = 7
REQUEST_ID: Final = 8
TRACE: Final = 9
UPGRADE: Final = 10
FORWARDED: Final = 11
"""Of where a request came from: believed of a trusted proxy, dropped of anyone else."""
OVERRIDE: Final = 12

_HOP_BY_HOP: Final = (
    b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
)  # fmt: skip

_REQUEST: Final = {
    **dict.fromkeys(_HOP_BY_HOP, DROP),
    # Said by us, of what we know ourselves: an unverified client must not be able to say it.
    **dict.fromkeys((b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"), FORWARDED),
    b"x-real-ip": DROP,
    b"x-crossfade-arm": OVERRIDE,
    b"upgrade": UPGRADE,
    b"host": HOST,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"connection": CONNECTION,
    b"expect": EXPECT,
    b"x-request-id": REQUEST_ID,
    b"traceparent": TRACE,
}

_ANSWER: Final = {
    **dict.fromkeys(_HOP_BY_HOP, DROP),
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
    b"x-request-id": DROP,
}

_LIMIT: Final = 4096
"""Spellings remembered. Past it a new spelling is classified each time: slower, and memory stays bounded."""
_LONGEST: Final = 64
"""Bytes of a name that is remembered."""


class Names:
    """What is done with each header name: `kinds` by spelling, `classify` for a spelling seen the first time.
    `underscores`: names with an underscore are passed on."""

    __slots__ = ("_rules", "kinds", "noted", "underscores")

    def __init__(self, rules: dict[bytes, int], noted: frozenset[bytes], *, underscores: bool) -> None:
        self._rules = rules
        self.noted = noted
        self.underscores = underscores
        self.kinds: dict[bytes, int] = {}

    def same(self, other: "Names") -> bool:
        """Whether both do the same with each name."""
        return self.noted == other.noted and self.underscores == other.underscores

    def classify(self, name: bytes) -> int:
        lower = name.lower()
        kind = self._rules.get(lower)
        if kind is None:
            if lower in self.noted:
                kind = NOTE
            elif lower.startswith(b"x-crossfade-") or (b"_" in lower and not self._may_pass(lower)):
                kind = DROP
            else:
                kind = PASS
        if len(self.kinds) < _LIMIT and len(name) <= _LONGEST:
            self.kinds[name] = kind
        return kind

    def _may_pass(self, lower: bytes) -> bool:
        """An underscore is a hyphen to many origins (CGI-style variables): so none may stand for a name that means
        something here, a credential or a word of ours among them."""
        plain = lower.replace(b"_", b"-")
        known = plain in self._rules or plain in self.noted or plain.startswith(b"x-crossfade-")
        return self.underscores and not known


def request_names(noted: frozenset[bytes], *, underscores: bool = False) -> Names:
    return Names(_REQUEST, noted, underscores=underscores)


def answer_names(noted: frozenset[bytes]) -> Names:
    """No client makes variables of an answer's headers: they pass however they are spelled."""
    return Names(_ANSWER, noted, underscores=True)


def nominated(connection: bytes) -> frozenset[bytes]:
    """The header names (lower-case) that a Connection value names, other than its own options."""
    tokens = {token.strip().lower() for token in connection.split(b",")}
    return frozenset(tokens - {b"", b"close", b"keep-alive", b"upgrade", b"host", b"content-length"})


def without(lines: list[bytes], names: frozenset[bytes]) -> list[bytes]:
    """The header lines whose name is not among `names`."""
    return [line for line in lines if line.partition(b":")[0].lower() not in names]
