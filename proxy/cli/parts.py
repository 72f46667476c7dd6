"""What views of one pair, or of one escalation, are made of. What others wrote tells a terminal nothing."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.console import ConsoleRenderable, RichCast
from rich.padding import Padding
from rich.text import Text

from proxy.cli.tables import NONE
from proxy.telemetry.visible import visible

Line = ConsoleRenderable | RichCast | str


def part(title: str, lines: Iterable[Line]) -> Iterator[Line]:
    """A title and what stands below it; nothing at all where that is nothing."""
    shown = [Padding(line, (0, 0, 0, 2), expand=False) for line in lines]
    if shown:
        yield Text("")
        yield Text(title, "bold")
        yield from shown


def text(value: Any, style: str = "") -> Text:
    return Text(visible(str(value)), style, overflow="fold")


def json_text(value: Any, option: int = 0) -> str:
    return orjson.dumps(value, option=option).decode()


def body(message: dict[str, Any]) -> str | None:
    """That of a request or an answer, as far as it was kept; None where none was."""
    found = message.get("body")
    if found is None:
        return None
    shown = found if isinstance(found, str) else json_text(found, orjson.OPT_INDENT_2)
    return f"{shown}\n(only the beginning was kept)" if message.get("truncated") else shown


def took(seconds: float | None) -> str:
    """`0.02 ms`, `13 ms`, `2.4 s`."""
    if seconds is None:
        return NONE
    if seconds >= 1:
        return f"{seconds:,.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else f"{seconds * 1000:.2f} ms"


def when(at: str | None) -> str:
    """A time of RFC 3339, in UTC."""
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M:%S}" if at else NONE
