"""A client's bytes become requests: llhttp in its strict default, and the rules of `head` on top.

After the first thing that is refused nothing more is read: `refusal` says why, `broken` is the request whose body was
under way, if any.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import httptools

from proxy.gateway import head
from proxy.gateway.headers import (
    CODING,
    CONNECTION,
    EXPECT,
    HOST,
    LENGTH,
    NOTE,
    PASS,
    REQUEST_ID,
    TRACE,
    nominated,
    without,
)
from proxy.gateway.request import Request
from proxy.gateway.shared import Shared
from proxy.model.errors import BodyTooLargeError, ClientError, RequestError

_USUAL: Final = (b"", b"keep-alive", b"close", b"Keep-Alive")
"""Values of Connection that nominate no header."""


class RequestReader:
    """`requests` are those that came, the last one perhaps without the end of its body. `in_head` says that a part of
    a head has come: of at most `_fed` bytes, and of `_sure` at least. `_framing` are the bytes of chunk framing and
    trailers that came without a byte of the body."""

    __slots__ = (
        "_client_ip",
        "_coding",
        "_connection",
        "_expect",
        "_fed",
        "_forwarded",
        "_framing",
        "_hosts",
        "_kinds",
        "_length",
        "_lines",
        "_noted",
        "_other",
        "_other_size",
        "_parser",
        "_parsing",
        "_request_id",
        "_shared",
        "_sure",
        "_table",
        "_target",
        "_trace",
        "broken",
        "in_head",
        "refusal",
        "requests",
    )  # fmt: skip

    def __init__(self, shared: Shared, client_ip: bytes) -> None:
        self.requests: deque[Request] = deque()
        self.refusal: RequestError | None = None
        self.broken: Request | None = None
        self.in_head = False
        self._shared = shared
        self._client_ip = client_ip
        self._forwarded = b"x-forwarded-for: %b\r\nx-forwarded-proto: http\r\nvia: 1.1 crossfade\r\n" % client_ip
        self._parser = httptools.HttpRequestParser(self)
        self._parsing: Request | None = None
        self._fed = self._sure = self._framing = 0

    def feed(self, data: bytes) -> None:
        size, known, parsing = len(data), len(self.requests), self._parsing
        before = parsing.size if parsing is not None else 0
        in_head = self.in_head
        while data and not self._refused():
            self._fed = self._fed + len(data) if self.in_head else len(data)
            try:
                self._parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                # No upgrade is offered: the request was served as it is, and what follows is HTTP still.
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError as error:
                data = b""
                if not self._refused():
                    self.refuse(_not_http(error))
        if self._refused():
            return
        if self.in_head:
            # Where something else came before it in this read, it is not known how much of the read is the head's.
            alone = parsing is None and len(self.requests) == known
            self._sure = (self._sure if in_head else 0) + size if alone else 0
            self._check(head.check_unfinished, len(self._target), self._sure)
        elif parsing is not None and self._parsing is parsing and parsing.length < 0:
            self._framing = self._framing + size if parsing.size == before else 0
            self._check(head.check_framing, self._framing)

    def _check(self, rule: Callable[..., None], *sizes: int) -> None:
        try:
            rule(*sizes, self._table.limits)
        except RequestError as error:
            self.refuse(error)

    def _refused(self) -> bool:
        # Asked by a method: the parser's callbacks set it, which a type checker, and so mypyc, would not believe.
        return self.refusal is not None

    def refuse(self, error: RequestError) -> None:
        """Read nothing more."""
        self.refusal = error
        self.broken, self._parsing = self._parsing, None
        self.in_head = False

    # --- the parser's side

    def on_message_begin(self) -> None:
        self._table = table = self._shared.table
        self._kinds = table.request_names.kinds
        self.in_head = True
        self._target = self._length = self._coding = self._connection = b""
        self._expect = self._request_id = self._trace = b""
        self._lines: list[bytes] = []
        self._noted: list[tuple[bytes, bytes]] = []
        self._hosts: list[bytes] = []
        self._other = self._other_size = 0

    def on_url(self, url: bytes) -> None:
        self._target = self._target + url if self._target else url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:
            return  # a trailer: none is known to be safe to pass on
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._table.request_names.classify(name)
        if kind == PASS:
            self._lines.append(b"%b: %b\r\n" % (name, value))
        elif kind == NOTE:
            self._noted.append((name.lower(), value))
        else:
            self._special(kind, value)

    def _special(self, kind: int, value: bytes) -> None:
        self._other += 1
        self._other_size += len(value)
        if kind == HOST:
            self._hosts.append(value)
        elif kind == LENGTH:
            self._length = value
        elif kind == CODING:
            self._coding = self._coding + b"," + value if self._coding else value
        elif kind == CONNECTION:
            self._connection = self._connection + b"," + value if self._connection else value
        elif kind == REQUEST_ID:
            self._request_id = value
        elif kind == TRACE:
            self._trace = value
        elif kind == EXPECT:
            self._expect = value

    def on_headers_complete(self) -> None:
        self.in_head = False
        if self.refusal is not None:
            return
        try:
            self._parsing = request = self._checked()
        except RequestError as error:
            self.refuse(error)
            return
        self._framing = 0
        self.requests.append(request)

    def _checked(self) -> Request:
        """The request that the head makes. Raises what is wrong with it."""
        parser, limits, lines, noted = self._parser, self._table.limits, self._lines, self._noted
        method = parser.get_method()
        keep_alive = parser.should_keep_alive()
        # Kept alive without a word about it means HTTP/1.1, and asking the parser makes a string each time.
        version = "1.1" if keep_alive and not self._connection else parser.get_http_version()
        old = version != "1.1" and head.is_old(version)
        head.check_method(method)
        fields = len(lines) + len(noted) + self._other
        if fields > limits.max_headers or self._fed > limits.max_header_bytes:
            size = self._other_size + sum(map(len, lines)) + sum(len(name) + len(value) for name, value in noted)
            head.check_size(fields, size, limits)
        host = head.one_host(self._hosts, old=old)
        target = head.origin_form(self._target, host, method, limits)
        length = head.body_length(self._length, self._coding, limits, old=old)
        if self._connection not in _USUAL:
            names = nominated(self._connection)
            lines = without(lines, names)
            noted = [pair for pair in noted if pair[0] not in names]
        request = Request(method, target, host, lines, noted, length, self._client_ip, self._forwarded)
        request.request_id = self._request_id
        request.trace = self._trace
        request.keep_alive = keep_alive
        request.old = old
        if self._expect:
            head.check_expectation(self._expect)
            request.expects = not old
        return request

    def on_body(self, data: bytes) -> None:
        request = self._parsing
        if request is None:
            return
        limit = self._table.limits.max_body
        if limit and request.size + len(data) > limit:
            self.refuse(BodyTooLargeError(f"the body is over {limit} bytes"))
        else:
            request.take(data)

    def on_message_complete(self) -> None:
        request, self._parsing = self._parsing, None
        if request is not None:
            request.finish()


def _not_http(error: httptools.HttpParserError) -> RequestError:
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return ClientError("the method is not one of HTTP's")
    return ClientError(str(error) or "not HTTP/1.1")
