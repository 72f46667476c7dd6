"""What the admin API answers with: JSON, and errors as `{error, detail, request_id}`."""

from typing import Any, Final

import orjson
import structlog
from aiohttp import web

from proxy.model.errors import CommandError, ConfigError, ConflictError, StoreFormatError, StoreUnavailableError
from proxy.telemetry import otlp
from proxy.telemetry.masking import mask_text

_log = structlog.get_logger()
REQUEST_ID: Final = web.RequestKey("request_id", str)


class ApiError(Exception):
    """Ends a request with `status`. `extra` are further members of the answer, `headers` further headers."""

    def __init__(
        self, status: int, error: str, detail: str, *, headers: dict[str, str] | None = None, **extra: object
    ) -> None:
        super().__init__(detail)
        self.status, self.error, self.detail, self.headers, self.extra = status, error, detail, headers or {}, extra


def answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=orjson.dumps(document), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )


def error_answer(request: web.Request, error: Exception) -> web.Response:
    """The answer to what a handler raised. What nobody expected is logged with its stack and told as `internal`."""
    known = error if isinstance(error, ApiError) else _translate(error)
    request_id = request[REQUEST_ID]
    if known is None:
        _log.error("admin_request_failed", request_id=request_id, path=request.path, exc_info=error)
        known = ApiError(500, "internal", "something went wrong here; the log says more under this request_id")
    detail = mask_text(known.detail)
    document = {"error": known.error, "detail": detail, "request_id": request_id, **known.extra}
    if request.content_type == otlp.PROTOBUF:  # who speaks it expects it: see OTLP/HTTP, Failures
        body = otlp.status(detail)
        return web.Response(body=body, status=known.status, headers=known.headers, content_type=otlp.PROTOBUF)
    return answer(document, known.status, known.headers)


def _translate(error: Exception) -> ApiError | None:
    match error:
        case ConflictError():
            detail = f"{error.detail}; read the route again and decide anew"
            return ApiError(412, "conflict", detail, allowed=list(error.allowed))
        case CommandError():
            return ApiError(409, "not_allowed", error.detail, allowed=list(error.allowed))
        case ConfigError():
            return ApiError(422, "invalid_config", str(error), problems=[str(each) for each in error.problems])
        case StoreUnavailableError():
            return ApiError(503, "store_unavailable", str(error), headers={"retry-after": "1"})
        case StoreFormatError():
            return ApiError(500, "store_format", str(error))
        case web.HTTPRequestEntityTooLarge():
            return ApiError(413, "body_too_large", error.text or "the body is too large")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            detail = f"{error.method} is not possible here; use {allowed}"
            return ApiError(405, "method_not_allowed", detail, headers={"allow": allowed})
        case web.HTTPNotFound():
            return ApiError(404, "not_found", "there is nothing at this path")
        case web.HTTPException() if error.status < 500:
            return ApiError(error.status, "bad_request", error.reason)
        case _:
            return None
