"""What a request's head must be beyond what llhttp's strict parser sees to. Each rule raises the error it calls for.

Sources: RFC 9110 sections 7.2, 9.3 and 10.1.1; RFC 9112 sections 2.3, 3.2, 6.1 and 6.3. Where those leave a choice, the
strict one is taken: what two origins could read differently is forwarded to none.
"""

import re
from ipaddress import IPv6Address
from typing import Final

from proxy.model import errors
from proxy.model.snapshot import LimitsSpec

METHODS: Final = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"PROPPATCH", b"MKCOL", b"COPY",
     b"MOVE", b"LOCK", b"UNLOCK", b"SEARCH", b"REPORT", b"QUERY", b"PURGE")
)  # fmt: skip


_VERSION: Final = re.compile(rb"HTTP/([0-9])\.([0-9])\r\n")


def is_old(line: bytes) -> bool:
    """Whether a request line, its end included, is HTTP/1.0's. A later minor version of HTTP/1 is served as HTTP/1.1.

    llhttp would take more than one space, other protocols' names and, told to let us judge, any version."""
    parts = line.split(b" ")
    found = _VERSION.fullmatch(parts[-1])
    if len(parts) != 3 or found is None:
        raise errors.ClientError("the request line is not a method, a target and HTTP/1.1")
    major, minor = found[1], found[2]
    if major == b"0":
        raise errors.ClientError("HTTP/0.9 is not served")
    if major != b"1":
        raise errors.VersionError("only HTTP/1.1 and HTTP/1.0 are served")
    return minor == b"0"


def check_method(method: bytes) -> None:
    if method not in METHODS:
        raise errors.MethodError(f"{method.decode('latin-1')} is not served")


_known_hosts: Final[set[bytes]] = set()
_MOST_HOSTS: Final = 1024
"""Hosts remembered as well-formed. Past it a new one is looked at each time: slower, and memory stays bounded."""
_LONGEST_HOST: Final = 255
_HOST: Final = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+)(?::([0-9]{0,5}))?")
"""RFC 3986, section 3.2.2: a registered name, without the comma that would make it a list, or an address; a port."""


def one_host(hosts: list[bytes], target: bytes, *, old: bool) -> bytes:
    """The one Host. Only HTTP/1.0 may leave it out: then it is the target's, or nobody's in particular."""
    if len(hosts) == 1:
        host = hosts[0]
        return host if host in _known_hosts else _checked_host(host)
    if hosts or not old:
        raise errors.ClientError("one Host header is needed")
    _, slashes, rest = target.partition(b"://")
    return _checked_host(_split(rest)[0]) if slashes and target[:1] != b"/" else b"localhost"


def _checked_host(host: bytes) -> bytes:
    host = host.strip(b" \t")
    found = _HOST.fullmatch(host)
    if found is None or int(found[2] or 0) > 65535 or (found[1] is not None and not _is_ipv6(found[1])):
        raise errors.ClientError("the Host header is not a host")
    if found[2] == b"":
        host = host[:-1]  # a colon with no port behind it says nothing
    if len(_known_hosts) < _MOST_HOSTS and len(host) <= _LONGEST_HOST:
        _known_hosts.add(host)
    return host


def _is_ipv6(address: bytes) -> bool:
    try:
        IPv6Address(address.decode())
    except ValueError:
        return False
    return True


def origin_form(target: bytes, host: bytes, method: bytes, limits: LimitsSpec) -> bytes:
    """The target as a path with its query; `*` only with OPTIONS. An absolute form must name the same host."""
    if len(target) > limits.max_target:
        raise errors.TargetTooLongError(f"the target is over {limits.max_target} bytes")
    if b"#" in target:
        raise errors.ClientError("the target has a fragment")
    if target[:1] == b"/" or (target == b"*" and method == b"OPTIONS"):
        return target
    scheme, slashes, rest = target.partition(b"://")
    if scheme.lower() not in (b"http", b"https") or not slashes:
        raise errors.ClientError("the target is neither a path nor an http URL")
    authority, path = _split(rest)
    if authority.lower() != host.lower():
        raise errors.ClientError("the target's host is not the Host header's")
    if not path:
        return b"*" if method == b"OPTIONS" else b"/"
    return path if path[:1] == b"/" else b"/" + path


def _split(rest: bytes) -> tuple[bytes, bytes]:
    """What follows `http://`, as authority and path with query."""
    end = min(place for place in (rest.find(b"/"), rest.find(b"?"), len(rest)) if place >= 0)
    return rest[:end], rest[end:]


_MOST_DIGITS: Final = 18
"""Digits of a Content-Length that surely is below 2^63."""


def body_length(length: bytes, coding: bytes, limits: LimitsSpec, *, old: bool) -> int:
    """Content-Length, 0 where there is no body, -1 where it comes in chunks."""
    if coding:
        if old:
            raise errors.ClientError("HTTP/1.0 knows no Transfer-Encoding")
        if coding.lower() != b"chunked":
            _check_coding(coding)
        return -1
    if len(length) > _MOST_DIGITS and not is_length(length):
        raise errors.ClientError("Content-Length is too large")
    size = int(length) if length else 0
    if limits.max_body and size > limits.max_body:
        raise errors.BodyTooLargeError(f"the body is over {limits.max_body} bytes")
    return size


def is_length(length: bytes) -> bool:
    """Whether these digits are below 2^63: past it some count from zero again, or below it."""
    length = length.strip(b" \t")
    return len(length) <= _MOST_DIGITS + 1 and int(length) < 1 << 63


def _check_coding(coding: bytes) -> None:
    """Where the last coding is not chunked nobody knows the body's end (RFC 9112, section 6.1)."""
    codings = [part.strip(b" ").lower() for part in coding.split(b",")]
    if not all(codings) or codings[-1] != b"chunked" or codings.count(b"chunked") > 1:
        raise errors.ClientError("Transfer-Encoding does not end in one chunked")
    if len(codings) > 1:
        raise errors.CodingError("the only transfer coding served is chunked")


def upgrade(protocols: bytes, connection: bytes) -> bytes:
    """The protocol (lower case) that the client asks to change to; empty where it names none or several, or where
    Connection does not say so (RFC 9110, section 7.8)."""
    if b"upgrade" not in {option.strip().lower() for option in connection.split(b",")}:
        return b""
    protocol = protocols.strip().lower()
    return b"" if b"," in protocol or b" " in protocol else protocol


def check_expectation(expect: bytes) -> None:
    if expect.strip().lower() != b"100-continue":
        raise errors.ExpectationError("the only expectation served is 100-continue")


def check_size(fields: int, size: int, limits: LimitsSpec) -> None:
    """`fields` headers of together `size` bytes."""
    if fields > limits.max_headers:
        raise errors.HeadersTooLargeError(f"more than {limits.max_headers} header fields")
    if size > limits.max_header_bytes:
        raise errors.HeadersTooLargeError(f"the headers are over {limits.max_header_bytes} bytes")


def check_unfinished(target: int, size: int, limits: LimitsSpec) -> None:
    """`target` bytes of the target and `size` bytes in all have come, and the head has no end yet."""
    if target > limits.max_target:
        raise errors.TargetTooLongError(f"the target is over {limits.max_target} bytes")
    if size > limits.max_target + limits.max_header_bytes:
        raise errors.HeadersTooLargeError(f"the headers are over {limits.max_header_bytes} bytes")
