"""Which route a request belongs to. The longest path prefix wins; among equals the more particular one.

A prefix matches whole path segments (as in the Kubernetes Gateway API): `/a` matches `/a` and `/a/b`, not `/ab`. The
path is compared as it came, percent-encoding and dot segments included: what is matched is what is forwarded.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proxy.model.snapshot import MatchSpec

Noted = Sequence[tuple[bytes, bytes]]
"""Headers that someone asked for, as (lower-case name, value), in their order."""


class _Rule(NamedTuple):
    place: int
    host: bytes
    methods: frozenset[bytes]
    headers: tuple[tuple[bytes, bytes], ...]


class Matcher:
    """Finds a route by one dictionary look-up per distinct prefix length, so that many routes cost as little as one."""

    __slots__ = ("_lengths", "_rules")

    def __init__(self, specs: Iterable[MatchSpec]) -> None:
        self._rules: dict[bytes, list[_Rule]] = {}
        for index, spec in enumerate(specs):
            rule = _Rule(
                index,
                spec.host.lower().encode(),
                frozenset(method.encode() for method in spec.methods),
                tuple((name.encode(), value.encode()) for name, value in spec.headers),
            )
            self._rules.setdefault(spec.path_prefix.rstrip("/").encode(), []).append(rule)
        for rules in self._rules.values():
            rules.sort(key=lambda rule: (not rule.host, -len(rule.headers), not rule.methods, rule.place))
        self._lengths = tuple(sorted({len(prefix) for prefix in self._rules}, reverse=True))

    def find(self, method: bytes, host: bytes, path: bytes, noted: Noted) -> int:
        """The index of the route, or -1. `host` is the Host header's value, `path` the target before its query."""
        size = len(path)
        for length in self._lengths:
            if size > length and path[length] != 0x2F:
                continue
            for rule in self._rules.get(path[:length], ()):
                if rule.methods and method not in rule.methods:
                    continue
                if rule.host and rule.host != _hostname(host):
                    continue
                if rule.headers and not all(pair in noted for pair in rule.headers):
                    continue
                return rule.place
        return -1


def _hostname(host: bytes) -> bytes:
    """The host without its port, in lower case (RFC 9110, section 4.2.3: hosts are case-insensitive)."""
    name, colon, port = host.rpartition(b":")
    return (name if colon and port.isdigit() else host).lower()
