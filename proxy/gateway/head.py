"""What a request's head must be beyond what llhttp's strict parser sees to. Each rule raises the error it calls for.

Sources: RFC 9110 sections 7.2, 9.3 and 10.1.1; RFC 9112 sections 2.3, 3.2, 6.1 and 6.3. Where those leave a choice, the
strict one is taken: what two origins could read differently is forwarded to none.
"""

from typing import Final

from proxy.model import errors
from proxy.model.snapshot import LimitsSpec

METHODS: Final = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"PROPPATCH", b"MKCOL", b"COPY",
     b"MOVE", b"LOCK", b"UNLOCK", b"SEARCH", b"REPORT", b"QUERY", b"PURGE")
)  # fmt: skip


def is_old(version: str) -> bool:
    """Whether it is HTTP/1.0. A later minor version of HTTP/1 is served as HTTP/1.1."""
    if version == "1.0":
        return True
    if version.startswith("1."):
        return False
    if version == "0.9":
        raise errors.ClientError("HTTP/0.9 is not served")
    raise errors.VersionError("only HTTP/1.1 and HTTP/1.0 are served")


def check_method(method: bytes) -> None:
    if method not in METHODS:
        raise errors.MethodError(f"{method.decode('latin-1')} is not served")


def one_host(hosts: list[bytes], *, old: bool) -> bytes:
    """The one Host, which only HTTP/1.0 may leave out."""
    if len(hosts) != 1:
        if hosts or not old:
            raise errors.ClientError("one Host header is needed")
        return b"localhost"
    host = hosts[0]
    if not host or b"@" in host or b"/" in host or b"," in host or b" " in host:
        raise errors.ClientError("the Host header is not a host")
    return host


def origin_form(target: bytes, host: bytes, method: bytes, limits: LimitsSpec) -> bytes:
    """The target as a path with its query; `*` only with OPTIONS. An absolute form must name the same host."""
    if len(target) > limits.max_target:
        raise errors.TargetTooLongError(f"the target is over {limits.max_target} bytes")
    if target[:1] == b"/" or (target == b"*" and method == b"OPTIONS"):
        return target
    scheme, slashes, rest = target.partition(b"://")
    authority, slash, path = rest.partition(b"/")
    if scheme.lower() not in (b"http", b"https") or not slashes or b"?" in authority:
        raise errors.ClientError("the target is neither a path nor an http URL")
    if authority.lower() != host.lower():
        raise errors.ClientError("the target's host is not the Host header's")
    return slash + path if slash else b"/"


def body_length(length: bytes, coding: bytes, limits: LimitsSpec, *, old: bool) -> int:
    """Content-Length, 0 where there is no body, -1 where it comes in chunks."""
    if coding:
        if old:
            raise errors.ClientError("HTTP/1.0 knows no Transfer-Encoding")
        if coding.lower() != b"chunked":
            raise errors.CodingError("the only transfer coding served is chunked")
        return -1
    size = int(length) if length else 0
    if limits.max_body and size > limits.max_body:
        raise errors.BodyTooLargeError(f"the body is over {limits.max_body} bytes")
    return size


def check_expectation(expect: bytes) -> None:
    if expect.lower() != b"100-continue":
        raise errors.ExpectationError("the only expectation served is 100-continue")


def check_size(fields: int, size: int, limits: LimitsSpec) -> None:
    """`fields` headers of together `size` bytes."""
    if fields > limits.max_headers:
        raise errors.HeadersTooLargeError(f"more than {limits.max_headers} header fields")
    if size > limits.max_header_bytes:
        raise errors.HeadersTooLargeError(f"the headers are over {limits.max_header_bytes} bytes")


def check_framing(size: int, limits: LimitsSpec) -> None:
    """`size` bytes of chunk sizes, extensions and trailers have come since the last byte of the body."""
    if size > limits.max_header_bytes:
        raise errors.HeadersTooLargeError(f"the trailers are over {limits.max_header_bytes} bytes")


def check_unfinished(target: int, size: int, limits: LimitsSpec) -> None:
    """`target` bytes of the target and `size` bytes in all have come, and the head has no end yet."""
    if target > limits.max_target:
        raise errors.TargetTooLongError(f"the target is over {limits.max_target} bytes")
    if size > limits.max_target + limits.max_header_bytes:
        raise errors.HeadersTooLargeError(f"the headers are over {limits.max_header_bytes} bytes")
