"""The last page: what was shown, or why not."""

from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from proxy.demo.users import Users


@dataclass(slots=True)
class Report:
    """What was shown: the stages and `degraded` in their order, sentences, and a few mismatched pairs."""

    users: Users | None = None
    course: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    mismatches: list[dict[str, Any]] = field(default_factory=list)


def print_summary(console: Console, report: Report, seconds: float) -> None:
    """The course, a sentence for each thing shown, the users' count, a few pairs."""

    def line(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    line("")
    line(f"Shown in {seconds:.0f} s: {' → '.join(report.course)}", "bold green")
    for sentence in report.shown:
        line(f"  ✓ {sentence}")
    if (users := report.users) is not None:
        statuses = ", ".join(f"{count:,} with status {status}" for status, count in sorted(users.statuses.items()))
        line(f"  ✓ {users.sent:,} requests of {users.population} users answered ({statuses}), {users.failed} failed")
    if report.mismatches:
        line("")
        line("The latest pairs in which agent and human disagreed:")
        console.print(_pairs(report.mismatches))


def print_failure(console: Console, problem: str, log: str) -> None:
    """The reason, and the end of Crossfade's log where there is one."""
    if log:
        console.print("the end of crossfade's log:", style="dim")
        console.print(log, markup=False, highlight=False, soft_wrap=True)
    console.print(f"the demo failed: {problem}", style="bold red", markup=False, highlight=False, soft_wrap=True)


def _pairs(pairs: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE)
    for heading in ("refund", "asked for", "the human", "the agent"):
        table.add_column(heading)
    for pair in pairs:
        asked = pair["request"]["body"]
        what = f"{asked['amount']:.2f} euros, {asked['reason']}, {asked['order_age_days']} days"
        table.add_row(asked["id"], what, *(_opinion(pair[arm]["body"]) for arm in ("legacy", "agent")))
    return table


def _opinion(body: dict[str, Any]) -> str:
    return f"{body['decision']}: {body['why']}"
