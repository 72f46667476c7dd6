"""A client's bytes become requests: llhttp in its strict default, and the rules of `head` and `framing` on top.

Those rules need the bytes themselves: so it is known where in a read the message under way begins.

After the first thing that is refused nothing more is read: `refusal` says why, `broken` is the request whose body was
under way, if any.
"""

from collections import deque
from typing import Final

import httptools

from proxy.gateway import head
from proxy.gateway.forwarded import Given, origin
from proxy.gateway.framing import Chunks, TooLongError
from proxy.gateway.headers import (
    CODING,
    CONNECTION,
    EXPECT,
    FORWARDED,
    HOST,
    LENGTH,
    NOTE,
    OVERRIDE,
    PASS,
    REQUEST_ID,
    TRACE,
    UPGRADE,
    nominated,
    without,
)
from proxy.gateway.request import Request
from proxy.gateway.shared import Shared
from proxy.model.errors import BodyTooLargeError, ClientError, HeadersTooLargeError, RequestError, VersionError

_PLAIN: Final = b" HTTP/1.1\r\n"
"""What stands behind the target in nearly every request."""
_USUAL: Final = (b"", b"keep-alive", b"close", b"Keep-Alive")
"""Values of Connection that nominate no header."""
_SLICE: Final = 16 << 10
_MANY: Final = 64
"""A request takes some twenty times the memory of its shortest bytes. So once there are this many, the rest of a read
of more than `_SLICE` bytes stays as it came."""


class RequestReader:
    """`requests` are those that came, the last one perhaps without the end of its body. `in_head` says that a part of
    a head has come, which is `_kept`. `_raw` is what is read just now, behind what was kept, and `_place` where in it
    the message under way begins; of a body that began earlier, where it ends. `_unread` is a request whose body llhttp
    has to be made to read. What comes is only `held` where the last request `offered` to change the protocol, so that
    it may be no HTTP, and where enough requests wait already; `go_on` reads it."""

    __slots__ = (
        "_begun", "_chunks", "_chunks_end", "_coding", "_connection", "_expect", "_forwarded", "_given", "_hosts",
        "_kept", "_kinds", "_length", "_lines", "_noted", "_other", "_other_size", "_ours", "_override", "_parser",
        "_parsing", "_peer", "_place", "_raw", "_request_id", "_resuming", "_secure", "_shared", "_table", "_target",
        "_trace", "_trusted", "_unread", "_upgrade", "broken", "held", "in_head", "offered", "refusal", "requests",
    )  # fmt: skip

    def __init__(self, shared: Shared, peer: bytes, *, secure: bool = False, subject: bytes = b"") -> None:
        """`peer` is whom we speak with, `secure` whether by TLS, `subject` that of its certificate."""
        self.requests: deque[Request] = deque()
        self.refusal: RequestError | None = None
        self.broken: Request | None = None
        self.in_head = self.offered = False
        self.held = b""
        self._shared = shared
        self._peer = peer
        self._secure = secure
        self._trusted = shared.table.proxies.trusts(peer)
        self._ours = b"via: 1.1 crossfade\r\n"
        if subject:
            self._ours += b"x-crossfade-client-subject: %b\r\n" % subject
        proto = b"https" if secure else b"http"
        self._forwarded = b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\n%b" % (peer, proto, self._ours)
        self._parser = self._new_parser()
        self._parsing: Request | None = None
        self._unread: Request | None = None
        self._raw = self._kept = b""
        self._place = self._chunks_end = 0
        self._begun = self._resuming = False
        self._chunks = Chunks(0)

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_version=True)  # which one is served we say ourselves
        return parser

    def feed(self, data: bytes) -> None:
        """Parse what has come. Of many requests behind each other only so many are made of their bytes at a time."""
        if self.offered or self.held:
            self.held += data
            return
        if len(data) <= _SLICE:
            self._feed(data)
            return
        start = 0
        while start < len(data) and not self._refused():
            if self._offers() or len(self.requests) >= _MANY:
                self.held += data[start:]
                return
            end = start + _SLICE
            parsing = self._parsing
            if parsing is not None and parsing.length > 0:
                end = max(end, start + parsing.length - parsing.size)  # a body is taken as it comes
            self._feed(data[start:end])
            start = end

    def _feed(self, data: bytes) -> None:
        parsing = self._parsing
        self._raw, self._place, self._begun = data, 0, self.in_head
        if self.in_head:
            self._raw, self._kept = self._kept + data, b""
        elif parsing is not None:
            self._place = self._end_of(parsing)
        while data and not self._refused():
            try:
                self._parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._parser = self._new_parser()
                self._resume()
                if self._offers():
                    self.held, data = data, b""
            except httptools.HttpParserCallbackError:
                raise  # a mistake of ours
            except httptools.HttpParserError as error:
                data = b""
                if not self._refused():
                    self.refuse(_not_http(error))
        if self.in_head:
            self._keep()
        self._raw = b""

    def _end_of(self, request: Request) -> int:
        """Where in this read the body ends that began in an earlier one. A bad framing is refused before it is read."""
        if request.length >= 0:
            return request.length - request.size
        try:
            return self._check_chunks(0)
        except RequestError as error:
            self.refuse(error)
            return 0

    def _keep(self) -> None:
        """A head that is not whole: it can be judged by what there is of it."""
        self._kept = kept = self._raw[self._place :].lstrip(b"\r\n")
        line, end, _ = kept.partition(b"\n")
        try:
            head.check_unfinished(len(self._target), len(kept), self._table.limits)
            if end:
                head.is_old(line + end)  # HTTP/0.9 ends here
        except RequestError as error:
            self.refuse(error)

    def _resume(self) -> None:
        """llhttp takes what follows a request for an upgrade for another protocol, the request's own body too. It is
        told once more what comes, in a head of our own."""
        request, self._unread = self._unread, None
        if request is not None and not self._refused():
            coded = request.length < 0
            framing = b"transfer-encoding: chunked" if coded else b"content-length: %d" % request.length
            self._resuming = True
            self._parser.feed_data(b"PUT / HTTP/1.1\r\nhost: a\r\n%b\r\n\r\n" % framing)
            self._resuming = False
            self._parsing = request

    def go_on(self) -> None:
        """The requests before are through, and the protocol stays: what was held is HTTP."""
        self.offered = False
        held, self.held = self.held, b""
        if held and not self._refused():
            self.feed(held)

    def _offers(self) -> bool:
        return self.offered  # by a method, as `_refused`

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
        if self._resuming:
            return
        if self._begun and not self._refused():
            last = self.requests[-1]
            self._place = self._chunks_end if last.length < 0 else self._head_end() + last.length
        self._begun = True
        self._table = table = self._shared.table
        self._kinds = table.request_names.kinds
        self.in_head = True
        self._target = self._length = self._coding = self._connection = b""
        self._expect = self._request_id = self._trace = self._upgrade = self._override = b""
        self._lines: list[bytes] = []
        self._noted: list[tuple[bytes, bytes]] = []
        self._hosts: list[bytes] = []
        self._given: list[tuple[bytes, bytes]] = []
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
            self._noted.append((name.lower(), value.rstrip(b" \t")))  # as it is compared (RFC 9110, section 5.5)
        else:
            self._special(kind, name, value)

    def _special(self, kind: int, name: bytes, value: bytes) -> None:
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
        elif kind == UPGRADE:
            self._upgrade = self._upgrade + b"," + value if self._upgrade else value
        elif kind == OVERRIDE:
            self._override = self._override + b"," + value if self._override else value
        elif kind == FORWARDED and self._trusted:
            self._given.append((name.lower(), value))

    def _head_end(self) -> int:
        return self._raw.find(b"\r\n\r\n", self._place) + 4

    def on_headers_complete(self) -> None:
        if not self.in_head:
            return
        self.in_head = False
        if self.refusal is not None:
            return
        try:
            request = self._checked()
        except RequestError as error:
            self.refuse(error)
            return
        self.requests.append(request)
        if self._connection and request.length and self._parser.should_upgrade():
            self._unread = request
        else:
            self._parsing = request

    def _checked(self) -> Request:
        """The request that the head makes. Raises what is wrong with it."""
        parser, limits, lines, noted = self._parser, self._table.limits, self._lines, self._noted
        method = parser.get_method()
        at = self._place + len(method) + len(self._target) + 1
        old = self._raw[at : at + len(_PLAIN)] != _PLAIN and self._is_old()
        head.check_method(method)
        fields = len(lines) + len(noted) + self._other
        if fields > limits.max_headers or len(self._raw) - self._place > limits.max_header_bytes:
            size = self._other_size + sum(map(len, lines)) + sum(len(name) + len(value) for name, value in noted)
            head.check_size(fields, size, limits)
        host = head.one_host(self._hosts, self._target, old=old)
        target = head.origin_form(self._target, host, method, limits)
        length = head.body_length(self._length, self._coding, limits, old=old)
        if length < 0:
            self._chunks = Chunks(limits.max_header_bytes)
            self._chunks_end = self._check_chunks(self._head_end())
        if self._connection not in _USUAL:
            names = nominated(self._connection)
            lines = without(lines, names)
            noted = [pair for pair in noted if pair[0] not in names]
        request = Request(method, target, host, lines, noted, length, self._peer, self._forwarded)
        if self._given:
            self._believe(request)
        request.request_id = self._request_id
        request.trace = self._trace
        request.keep_alive = parser.should_keep_alive() if old or self._connection else True
        request.old = old
        request.override = self._override
        if self._upgrade and not old and method == b"GET" and not length:
            request.upgrade = head.upgrade(self._upgrade, self._connection) if parser.should_upgrade() else b""
            self.offered = request.upgrade != b""
        if self._expect:
            head.check_expectation(self._expect)
            request.expects = not old
        return request

    def _is_old(self) -> bool:
        """The request line is not the usual one, or does not stand where it would."""
        raw = self._raw
        while raw[self._place : self._place + 1] in (b"\r", b"\n"):
            self._place += 1  # empty lines before it (RFC 9112, section 2.2)
        return head.is_old(raw[self._place : raw.find(b"\n", self._place) + 1])

    def _check_chunks(self, place: int) -> int:
        try:
            return self._chunks.check(self._raw, place)
        except TooLongError as too_long:  # names of their own: compiled, one name has one type
            raise HeadersTooLargeError(str(too_long)) from None
        except ValueError as error:
            raise ClientError(str(error)) from None

    def _believe(self, request: Request) -> None:
        """A trusted proxy has said where the request came from."""
        said: dict[bytes, bytes] = {}
        for name, value in self._given:
            said[name] = b"%b, %b" % (said[name], value) if name in said else value
        given = Given(
            said.get(b"x-forwarded-for", b""), said.get(b"x-forwarded-proto", b""),
            said.get(b"x-forwarded-host", b""), said.get(b"forwarded", b""),
        )  # fmt: skip
        found = origin(self._peer, self._secure, given, self._table.proxies)
        request.client_ip = found.client_ip
        request.forwarded = found.lines + self._ours
        request.forwarded_host = found.host or request.host

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
    if str(error) == "Pause on PRI/Upgrade":
        return VersionError("HTTP/2 is not served")
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return ClientError("the method is not one of HTTP's")
    return ClientError(str(error) or "not HTTP/1.1")
