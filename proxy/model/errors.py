"""One error tree. It says who is at fault and, for a request, what the client sees.

CrossfadeError
 ├─ RequestError     has a status and a word for the JSON answer
 │   ├─ ClientError      the client sent what cannot be served (4xx)
 │   ├─ UpstreamError    an arm could not complete (502, 504); carries the `Failure`
 │   └─ GatewayError     we could not serve (503)
 ├─ ConfigError      the operator's configuration: file, line, path, problem
 ├─ StoreError       the Redis-protocol server or what it holds
 └─ CommandError     an operator's verb that the rollout's phase does not allow
"""

from collections.abc import Sequence
from typing import ClassVar

from proxy.model.words import Failure


class CrossfadeError(Exception):
    """Root of everything that Crossfade raises on purpose. `str()` is one line fit for an operator."""


class RequestError(CrossfadeError):
    """Ends one request. `status` and `error` are what the client sees, `detail` is the sentence beside it."""

    status: ClassVar[int] = 500
    error: ClassVar[str] = "internal"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ClientError(RequestError):
    """The client is at fault; after a framing error its connection is closed."""

    status = 400
    error = "bad_request"


class NoRouteError(ClientError):
    status = 404
    error = "no_route"


class MethodError(ClientError):
    status = 405
    error = "method_not_allowed"


class RequestTimeoutError(ClientError):
    status = 408
    error = "request_timeout"


class BodyTooLargeError(ClientError):
    status = 413
    error = "body_too_large"


class TargetTooLongError(ClientError):
    status = 414
    error = "target_too_long"


class ExpectationError(ClientError):
    status = 417
    error = "expectation_failed"


class HeadersTooLargeError(ClientError):
    status = 431
    error = "headers_too_large"


class CodingError(ClientError):
    status = 501
    error = "unknown_transfer_coding"


class VersionError(ClientError):
    status = 505
    error = "http_version"


class UpstreamError(RequestError):
    """An arm could not complete. `failure` is the word that counts it and that `fallback.on` names. `sent`: a byte of
    the request may have reached it."""

    status = 502
    error = "bad_gateway"
    failure: ClassVar[Failure] = Failure.RESET
    sent: bool = True


class ConnectFailureError(UpstreamError):
    error = "connect_failure"
    failure = Failure.CONNECT_FAILURE
    sent = False


class NotAskedError(ConnectFailureError):
    """It is known to be down, so nobody tried; to try again is in vain too."""


class UpstreamTimeoutError(UpstreamError):
    status = 504
    error = "upstream_timeout"
    failure = Failure.TIMEOUT


class ResetError(UpstreamError):
    """The upstream closed, or sent what is not HTTP, before its answer was whole."""

    error = "upstream_reset"
    failure = Failure.RESET


class OverloadError(UpstreamError):
    """The upstream has as much in flight as it may, and as much waits. 503 with Retry-After (RFC 9110, 15.6.4)."""

    status = 503
    error = "overloaded"
    failure = Failure.OVERLOAD
    sent = False


class GatewayError(RequestError):
    """We are at fault: overloaded or draining."""

    status = 503
    error = "unavailable"


class ConnectionsError(GatewayError):
    """As many connections are open, in all or from this address, as the limits allow."""

    error = "too_many_connections"


class ConfigError(CrossfadeError):
    """A configuration that cannot be used.

    `str()` is `file:line: path: problem`, with the parts that are known. `path` is written as in
    `routes[0].rollout.stages[2].weight`; `problem` says what is wrong and how to mend it. Where several things are
    wrong this is the first of them, `str()` ends in how many more there are, and `problems` holds an error for each.
    """

    def __init__(
        self, problem: str, *, file: str = "", line: int = 0, path: str = "", problems: tuple["ConfigError", ...] = ()
    ) -> None:
        self.problem, self.file, self.line, self.path = problem, file, line, path
        self.problems = problems or (self,)
        where = f"{file}:{line}" if file and line else file
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(": ".join(part for part in (where, path, problem) if part) + more)

    @classmethod
    def joined(cls, errors: Sequence["ConfigError"]) -> "ConfigError":
        """The first of several, which knows them all."""
        first, problems = errors[0], tuple(problem for error in errors for problem in error.problems)
        return cls(first.problem, file=first.file, line=first.line, path=first.path, problems=problems)


class StoreError(CrossfadeError):
    """The store is at fault, or what it holds."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached or does not answer; the work waits in the spool."""


class StoreFormatError(StoreError):
    """A key holds garbage or a newer format. It is never overwritten."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key


class SealError(StoreError):
    """What was sealed does not open: its key is no longer there, or it is not whole. It costs what it is alone."""


class CommandError(CrossfadeError):
    """An operator's verb cannot be done now. `allowed` are the verbs that can."""

    def __init__(self, detail: str, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.detail, self.allowed = detail, allowed


class ConflictError(CommandError):
    """Someone else changed the rollout since it was read (compare-and-set lost)."""
