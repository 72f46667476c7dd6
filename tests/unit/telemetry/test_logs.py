"""One line for each event, whoever logs it."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import orjson
import pytest
import structlog

from proxy.model.errors import ConfigError
from proxy.telemetry import logs
from tests.fakes import FakeClock

Lines = Callable[[], list[dict[str, Any]]]


def fail(error: Exception) -> NoReturn:
    raise error


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CROSSFADE_LOG", raising=False)
    monkeypatch.delenv("CROSSFADE_LOG_LEVEL", raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    logs._Access.sink = None


@pytest.fixture
def lines() -> Lines:
    stream = io.StringIO()
    logs.configure("worker 1", stream=stream, clock=FakeClock(1_800_000_000.123))
    return lambda: [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_and_says_when_what_and_who(lines: Lines) -> None:
    structlog.get_logger().info("snapshot_applied", number=3)
    assert lines() == [
        {
            "at": "2027-01-15T08:00:00.123Z",
            "level": "info",
            "event": "snapshot_applied",
            "process": "worker 1",
            "number": 3,
        }
    ]


def test_the_four_fields_come_first(lines: Lines) -> None:
    structlog.get_logger().bind(route="refunds").warning("breaker_tripped")
    assert list(lines()[0]) == ["at", "level", "event", "process", "route"]


def test_levels_below_the_chosen_one_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_LOG_LEVEL", "warning")
    stream = io.StringIO()
    logs.configure("control", stream=stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("redis").info("quiet")
    structlog.get_logger().error("loud")
    assert [orjson.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_the_standard_library_goes_the_same_way(lines: Lines) -> None:
    logging.getLogger("redis.connection").warning("cannot reach %s", "redis://u:hunter2@h")
    (line,) = lines()
    assert line["event"] == "cannot reach redis://***@h"
    assert (line["level"], line["logger"], line["process"]) == ("warning", "redis.connection", "worker 1")


def test_a_change_beside_the_configuration_is_no_line(lines: Lines) -> None:
    logging.getLogger("watchfiles.main").info("1 change detected")

    assert lines() == []


def test_a_library_whose_format_does_not_fit_is_still_heard(lines: Lines) -> None:
    record = logging.LogRecord("odd", logging.ERROR, __file__, 1, "%d things", ("many",), None)
    logs._Forward().emit(record)
    assert lines()[0]["event"] == "%d things"


def test_a_warning_is_a_line(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old ways", UserWarning, stacklevel=1)
    assert lines()[0]["logger"] == "py.warnings"


def test_an_exception_stays_on_its_line(lines: Lines) -> None:
    try:
        try:
            fail(OSError("refused\nby redis://u:hunter2@h"))
        except OSError as error:
            raise RuntimeError("no store") from error
    except RuntimeError:
        structlog.get_logger().exception("store_failed")
    (line,) = lines()
    assert line["exception"]["type"] == "RuntimeError"
    assert line["exception"]["message"] == "no store"
    assert line["exception"]["cause"] == "OSError: refused\nby redis://***@h"
    assert line["exception"]["stack"][0].startswith("tests/unit/telemetry/test_logs.py:")


def test_an_exception_of_the_standard_library_too(lines: Lines) -> None:
    try:
        fail(KeyError("x"))
    except KeyError:
        logging.getLogger("aiohttp.server").exception("Error handling request")
    assert lines()[0]["exception"]["type"] == "KeyError"


def test_secrets_are_masked(lines: Lines) -> None:
    structlog.get_logger().info("headers", headers={"Authorization": "Bearer abc", "accept": "*/*"}, token="abc")
    (line,) = lines()
    assert line["headers"] == {"Authorization": "***", "accept": "*/*"}
    assert line["token"] == "***"


@pytest.mark.parametrize("odd", [1 << 80, "\udcff", {1: object()}, float("nan"), {"a": {1, 2}}])
def test_odd_values_do_not_lose_the_line(lines: Lines, odd: object) -> None:
    structlog.get_logger().info("odd", value=odd)
    assert lines()[0]["event"] == "odd"


def test_a_log_that_is_gone_stops_nothing() -> None:
    stream = io.StringIO()
    logs.configure("control", stream=stream)
    stream.close()
    structlog.get_logger().info("into_the_void")


def test_on_a_terminal_lines_are_for_the_eye() -> None:
    stream = Terminal()
    logs.configure("control", stream=stream, clock=FakeClock())
    try:
        fail(ValueError("bad redis://u:hunter2@h"))
    except ValueError:
        structlog.get_logger().exception("reload_failed", path="routes[0]")
    text = stream.getvalue()
    assert "reload_failed" in text
    assert "ValueError: bad redis://***@h" in text
    assert not text.startswith("{")


def test_json_can_be_forced_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_LOG", "json")
    stream = Terminal()
    logs.configure("control", stream=stream)
    structlog.get_logger().info("started")
    assert orjson.loads(stream.getvalue())["event"] == "started"


@pytest.mark.parametrize(("name", "value"), [("CROSSFADE_LOG", "xml"), ("CROSSFADE_LOG_LEVEL", "loud")])
def test_a_setting_that_means_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"^{name}: '{value}' is no .*; write"):
        logs.configure("control", stream=io.StringIO())


def test_an_access_line_has_no_query(lines: Lines) -> None:
    logs.access_line(
        at=1_800_000_000.5,
        request_id="r-1",
        client="10.0.0.9",
        method="POST",
        target="/refunds?card=4111",
        route="refunds",
        arm="agent",
        mode="canary",
        status=200,
        duration=0.0123456,
        received=100,
        sent=200,
    )
    assert lines() == [
        {
            "at": "2027-01-15T08:00:00.500Z",
            "level": "info",
            "event": "access",
            "process": "worker 1",
            "request_id": "r-1",
            "client": "10.0.0.9",
            "method": "POST",
            "target": "/refunds",
            "route": "refunds",
            "arm": "agent",
            "mode": "canary",
            "status": 200,
            "duration": 0.012346,
            "received": 100,
            "sent": 200,
        }
    ]
