"""Logs: one JSON line for each event, on stderr, from structlog and from the standard library alike.

A line is `{"at", "level", "event", "process", …fields}`; `at` is RFC 3339 in UTC. What an exception says stands in the
field `exception`, on the same line. Secrets are masked before a line is made (see `masking`). On a terminal, or with
CROSSFADE_LOG=console, lines are made for the eye instead; CROSSFADE_LOG=json forces JSON, CROSSFADE_LOG_LEVEL sets the
level (debug, info, warning, error).
"""

import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import IO, Any, Final

import orjson
import structlog

from proxy.model.clock import Clock
from proxy.model.errors import ConfigError
from proxy.telemetry.clock import SystemClock, rfc3339
from proxy.telemetry.masking import mask, mask_text

LEVELS: Final = ("debug", "info", "warning", "error")
_MAX_FRAMES: Final = 20
_ROOT: Final = str(Path(__file__).parents[2]) + os.sep

EventDict = MutableMapping[str, Any]


def configure(process: str, *, stream: IO[str] | None = None, level: str = "", clock: Clock | None = None) -> None:
    """Set up structlog and the standard library's logging for this process.

    `process` names it in each line (`supervisor`, `control`, `worker 1`). `stream` is stderr unless given. Raises
    ConfigError on an unknown level or style.
    """
    level = level or os.environ.get("CROSSFADE_LOG_LEVEL", "") or "info"
    if level not in LEVELS:
        raise ConfigError(f"{level!r} is no level; write one of {', '.join(LEVELS)}", path="CROSSFADE_LOG_LEVEL")
    sink = _Sink(stream or sys.stderr, process, clock or SystemClock())
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            sink.stamp,
            _explain,
            _mask_fields,
            sink.console if _for_the_eye(sink.stream) else _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(number, logging.INFO), handlers=[_Forward()], force=True)
    # Each change beside the configuration would be a line, and with a log file there each line a change.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    _Access.sink = sink


def access_line(
    *,
    at: float,
    request_id: str,
    client: str,
    method: str,
    target: str,
    route: str,
    arm: str,
    mode: str,
    status: int,
    duration: float,
    received: int,
    sent: int,
) -> None:
    """One line for one answered request; called only where `listen.access_log` is on. `at` is Unix seconds, `duration`
    seconds, `received` and `sent` are bytes of the bodies. The query is left off: it may hold a secret."""
    sink = _Access.sink
    if sink is None:
        return
    fields = {
        "at": rfc3339(at),
        "level": "info",
        "event": "access",
        "process": sink.process,
        "request_id": request_id,
        "client": client,
        "method": method,
        "target": target.partition("?")[0],
        "route": route,
        "arm": arm,
        "mode": mode,
        "status": status,
        "duration": round(duration, 6),
        "received": received,
        "sent": sent,
    }
    sink.msg(_dump(fields))


class _Sink:
    """Where lines go; also what structlog takes for its innermost logger."""

    def __init__(self, stream: IO[str], process: str, clock: Clock) -> None:
        self.stream, self.process, self._clock = stream, process, clock
        self._console = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), timestamp_key="at", pad_event_to=28, sort_keys=False
        )

    def msg(self, line: str) -> None:
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            pass  # the log itself is gone (closed, full disk); there is nobody left to tell, and work goes on

    debug = info = warning = error = critical = fatal = failure = exception = msg

    def stamp(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        """The four fields of each line, in front of its own."""
        front = {
            "at": rfc3339(self._clock.now()),
            "level": event.pop("level", "info"),
            "event": event.pop("event", ""),
            "process": event.pop("process", self.process),
        }
        return front | dict(event)

    def console(self, logger: Any, method: str, event: EventDict) -> str:
        if isinstance(explained := event.pop("exception", None), dict):
            stack = "".join(f"    {line}\n" for line in explained["stack"])
            event["exception"] = f"{stack}{explained['type']}: {explained['message']}"
        return str(self._console(logger, method, event))


class _Access:
    """The sink of access lines: the same one, without structlog's way to it."""

    sink: _Sink | None = None


class _Forward(logging.Handler):
    """Sends what libraries log through the standard library down the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)  # a library's format does not fit its arguments
        fields = {"exc_info": record.exc_info} if record.exc_info else {}
        log.log(level, message, logger=record.name, **fields)


def _for_the_eye(stream: IO[str]) -> bool:
    style = os.environ.get("CROSSFADE_LOG", "")
    if style not in ("", "json", "console"):
        raise ConfigError(f"{style!r} is no style; write json or console", path="CROSSFADE_LOG")
    return style == "console" or (not style and stream.isatty())


def _explain(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """`exc_info` becomes `exception: {type, message, stack, cause}`."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else sys.exc_info()[1]
    if error is None:
        return event
    frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    explained: dict[str, Any] = {
        "type": type(error).__name__,
        "message": str(error),
        "stack": [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames],
    }
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        explained["cause"] = f"{type(cause).__name__}: {cause}"
    event["exception"] = explained
    return event


def _short(filename: str) -> str:
    return filename.rpartition("site-packages/")[2].removeprefix(_ROOT)


def _mask_fields(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {name: mask_text(str(value)) if name == "event" else mask(value, name) for name, value in event.items()}


def _render(_logger: Any, _method: str, event: EventDict) -> str:
    return _dump(dict(event))


def _dump(fields: dict[str, Any]) -> str:
    try:
        return orjson.dumps(fields, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a number over 64 bits, a lone surrogate
        return orjson.dumps({str(name): mask_text(str(value)) for name, value in fields.items()}).decode()
