"""What the commands' tables are made of, for a terminal of 80 columns. Text from outside is never read as markup."""

from datetime import UTC, datetime, timedelta
from typing import Final

from rich.table import Table
from rich.text import Text

PHASES: Final = {"progressing": "green", "completed": "bold green", "paused": "yellow", "degraded": "bold red"}
_VERDICTS: Final = {"passed": "green", "failed": "red", "matched": "green", "mismatched": "red"}
NONE: Final = "-"


def grid(*columns: str) -> Table:
    """Only the last column wraps."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    return table


def card() -> Table:
    """Lines of a name and what is said of it."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def phase(word: str) -> Text:
    return Text(word, PHASES.get(word, ""))


def verdict(word: str | None) -> Text:
    """None where one arm alone was asked, so that there was nothing to compare."""
    return Text(word or NONE, _VERDICTS.get(word or "", "yellow"))


def age(since: str, now: datetime) -> str:
    """How long ago an RFC 3339 time is."""
    return span((now - datetime.fromisoformat(since).astimezone(UTC)) / timedelta(seconds=1))


def span(seconds: float) -> str:
    """In its two largest units: `45s`, `12m 30s`, `1h`, `2d 3h`."""
    rest = max(0, int(seconds))
    for unit, smaller, size, small in (("d", "h", 86_400, 3_600), ("h", "m", 3_600, 60), ("m", "s", 60, 1)):
        if rest >= size:
            left = rest % size // small
            return f"{rest // size}{unit} {left}{smaller}" if left else f"{rest // size}{unit}"
    return f"{rest}s"


def compact(count: int) -> str:
    """`950`, `1.2k`, `35k`, `1.2M`: where a column must stay narrow."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= size:
            return f"{count / size:.1f}{unit}" if count < 10 * size else f"{count // size:,}{unit}"
    return f"{count}"


def share(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"
