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
    """In its two largest units."""
    rest = max(0, int(seconds))
    days, hours, minutes = rest // 86400, rest // 3600 % 24, rest // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest % 60}s" if minutes else f"{rest}s"


def share(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"


def place(stage: str, weight: float) -> str:
    """A stage with its weight in percent; a rollout that has not begun is at none."""
    return f"{stage} ({weight:g} %)" if stage else NONE
