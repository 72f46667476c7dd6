"""The targeting key of a request: the value that makes a user's requests go the same way."""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from proxy.model.snapshot import KeySource
from proxy.routing.match import Noted


class Source(NamedTuple):
    """A `KeySource` made ready for bytes."""

    kind: str
    name: bytes


def sources(keys: Iterable[KeySource]) -> tuple[Source, ...]:
    return tuple(Source(key.kind, key.name.encode()) for key in keys)


def noted_names(keys: Iterable[KeySource]) -> frozenset[bytes]:
    """The headers (lower-case) that `find_key` has to see."""
    names = {key.name.lower().encode() for key in keys if key.kind == "header"}
    return frozenset(names | {b"cookie" for key in keys if key.kind == "cookie"})


def find_key(order: tuple[Source, ...], noted: Noted, query: bytes, client_ip: bytes) -> bytes | None:
    """The first key that is there and not empty, tried in order; None when there is none.

    A header or parameter that comes twice counts with its first value.
    """
    for kind, name in order:
        if kind == "header":
            value = b""
            for given, said in noted:
                if given == name:
                    value = said
                    break
        elif kind == "cookie":
            value = _cookie(name, noted)
        elif kind == "query":
            value = _parameter(name, query)
        else:
            value = client_ip
        if value:
            return value
    return None


def _cookie(name: bytes, noted: Noted) -> bytes:
    """The cookie's value, quotes stripped (RFC 6265, section 4.1.1)."""
    for given, header in noted:
        if given == b"cookie":
            for part in header.split(b";"):
                found, equals, value = part.strip().partition(b"=")
                if equals and found == name:
                    return value.strip(b' "')
    return b""


def _parameter(name: bytes, query: bytes) -> bytes:
    """The parameter's value as forms encode it (WHATWG URL, application/x-www-form-urlencoded)."""
    for part in query.split(b"&"):
        found, _, value = part.partition(b"=")
        if found == name or unquote_to_bytes(found.replace(b"+", b" ")) == name:
            return unquote_to_bytes(value.replace(b"+", b" "))
    return b""
