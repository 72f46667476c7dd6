"""Answers of our own, and the first lines of everyone's."""

from http import HTTPStatus

import orjson

_REASONS = {status.value: status.phrase for status in HTTPStatus}

STATUS_LINES: dict[int, bytes] = {
    code: f"HTTP/1.1 {code} {_REASONS.get(code, '')}\r\n".encode() for code in range(100, 600)
}
"""Status line by code. An upstream's own reason phrase is not passed on (RFC 9112, section 4: clients ignore it)."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def error_answer(status: int, error: str, detail: str, request_id: bytes, *, close: bool, head: bool = False) -> bytes:
    """A whole answer with a JSON body `{error, detail, request_id}`; without the body for HEAD."""
    body = orjson.dumps({"error": error, "detail": detail, "request_id": request_id.decode("latin-1")})
    return b"".join(
        (
            STATUS_LINES[status],
            b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body),
            b"x-request-id: ",
            request_id,
            b"\r\ncache-control: no-store\r\n",
            b"retry-after: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else b"",
            b"connection: close\r\n\r\n" if close else b"\r\n",
            b"" if head else body,
        )
    )
