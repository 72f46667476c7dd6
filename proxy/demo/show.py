"""What is shown while the demonstration plays: a live table on a terminal, plain lines anywhere else."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from proxy.demo.scene import AGREEMENT_FLOOR, STAGES
from proxy.demo.watch import Arm, Counters, RouteView

_EVENTS_KEPT: Final = 100
_HEAD_LINES: Final = 15
"""Lines of a terminal that the events may not have: the head, the frames, a prompt."""

_STATUS_EVERY: Final = 5.0
_PHASE_STYLES: Final = {"progressing": "green", "degraded": "bold red", "paused": "yellow", "completed": "bold green"}


@dataclass(frozen=True, slots=True)
class Status:
    """One look at everything. `sent`, `good` and `failed` count the users' requests; `medians` are the users' median
    times in seconds, by arm."""

    route: RouteView
    counters: Counters
    sent: int
    good: int
    failed: int
    medians: dict[str, float]


class Show(Protocol):
    def event(self, text: str, *, style: str = "") -> None:
        """Something happened: one line."""
        ...

    def update(self, status: Status) -> None:
        """How things stand now."""
        ...


@contextmanager
def open_show(console: Console) -> Iterator[Show]:
    """The show that fits the console, closed at the end of the block."""
    if not console.is_terminal:
        yield PlainShow(console)
        return
    show = LiveShow(console)
    with Live(console=console, get_renderable=show.render, refresh_per_second=5):
        yield show


class PlainShow:
    """One line per event, and one of the status every 5 seconds."""

    def __init__(self, console: Console) -> None:
        self._console, self._started, self._last = console, time.monotonic(), 0.0

    def event(self, text: str, *, style: str = "") -> None:
        self._line(f"* {text}", style)

    def update(self, status: Status) -> None:
        now = time.monotonic()
        if now - self._last >= _STATUS_EVERY:
            self._last = now
            self._line(f"  {status_line(status)}", "")

    def _line(self, text: str, style: str) -> None:
        self._console.print(Text(f"[{time.monotonic() - self._started:5.1f} s] {text}", style), soft_wrap=True)


class LiveShow:
    """A table that is drawn anew a few times a second, with the latest events beneath."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._status: Status | None = None
        self._events: deque[Text] = deque(maxlen=_EVENTS_KEPT)

    def event(self, text: str, *, style: str = "") -> None:
        line = f"{time.monotonic() - self._started:5.1f} s  {text}"
        self._events.append(Text(line, style, no_wrap=True, overflow="ellipsis"))

    def update(self, status: Status) -> None:
        self._status = status

    def render(self) -> RenderableType:
        latest = list(self._events)[-max(3, self._console.height - _HEAD_LINES) :]
        events = Panel(Group(*latest), title="what happens", title_align="left", border_style="dim")
        if self._status is None:
            return events
        head = Panel(
            Group(_stages(self._status.route), Text(), _arms(self._status), Text(), _agreement(self._status)),
            title=f"crossfade demo · {time.monotonic() - self._started:.0f} s",
            title_align="left",
        )
        return Group(head, events)


def status_line(status: Status) -> str:
    route, agreement = status.route, status.route.agreement
    return (
        f"stage {route.stage}, weight {route.weight:g} %, phase {route.phase}"
        f" | requests legacy {route.legacy.requests}, agent {route.agent.requests}"
        f" | errors legacy {route.legacy.error_rate:.1%}, agent {route.agent.error_rate:.1%}"
        f" | agreement {share(agreement.ratio)} (at least {share(agreement.lower_bound)})"
        f" | fallbacks {status.counters.fallbacks.total()} | failed answers {status.failed} of {status.sent}"
    )


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _stages(route: RouteView) -> Text:
    """The plan in one line, the present stage lit."""
    line = Text()
    for stage in STAGES:
        here = stage.name == route.stage
        line.append(f" {stage.name} ", "reverse bold" if here else "dim")
        line.append(" ")
    line.append(f"now {route.weight:g} %, ")
    line.append(route.phase, _PHASE_STYLES.get(route.phase, ""))
    return line


def _arms(status: Status) -> Table:
    table = Table(expand=True, box=None)
    table.add_column("arm")
    for heading in ("users' answers", "at this stage, with copies", "failed", "error rate", "median"):
        table.add_column(heading, justify="right")
    for name, arm in (("legacy", status.route.legacy), ("agent", status.route.agent)):
        answered = sum(count for (of, _), count in status.counters.answers.items() if of == name)
        table.add_row(name, f"{answered:,}", *_figures(arm), _milliseconds(status.medians.get(name)))
    return table


def _figures(arm: Arm) -> tuple[str, str, Text]:
    return f"{arm.requests:,}", f"{arm.failed:,}", Text(f"{arm.error_rate:.1%}", "red" if arm.failed else "green")


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def _agreement(status: Status) -> Table:
    agreement, table = status.route.agreement, Table.grid(padding=(0, 2))
    table.add_row(
        "agreement here",
        f"{share(agreement.ratio)}, at least {share(agreement.lower_bound)} (floor {AGREEMENT_FLOOR} %)",
        f"{agreement.matched:,} matched, {agreement.mismatched:,} mismatched, {agreement.incomparable:,} incomparable",
    )
    fallbacks = ", ".join(f"{reason} {count:,}" for reason, count in sorted(status.counters.fallbacks.items()))
    table.add_row("fallbacks", f"{status.counters.fallbacks.total():,}", fallbacks)
    failed = Text(f"{status.failed:,} failed", "bold red" if status.failed else "green")
    table.add_row("users", f"{status.sent:,} asked, {status.good:,} answered", failed)
    return table
