from collections import Counter
from io import StringIO

from rich.console import Console

from proxy.demo.show import LiveShow, PlainShow, Status, open_show
from proxy.demo.summary import Report, print_failure, print_summary
from proxy.demo.watch import Agreement, Arm, Counters, RouteView

AGREEMENT = Agreement(2300, 31, 12, 0.985, 0.961)
ROUTE = RouteView("progressing", "expand-10", 10.0, 0.0, "", Arm(2321, 0), Arm(2400, 12), AGREEMENT)
ANSWERS = Counter({("legacy", "legacy"): 2000, ("legacy", "fallback"): 4, ("agent", "canary"): 300})
STATUS = Status(
    ROUTE,
    Counters(ANSWERS, fallbacks=Counter({"5xx": 4})),
    sent=2500,
    good=2490,
    failed=0,
    medians={"legacy": 0.041},
)


def console(*, terminal: bool = False) -> tuple[Console, StringIO]:
    out = StringIO()
    return Console(file=out, force_terminal=terminal, width=120, color_system=None, legacy_windows=False), out


def test_no_terminal_gets_a_line_for_each_event_and_few_of_the_status() -> None:
    at, out = console()
    show = PlainShow(at)

    show.event("stage canary: the agent serves 5 % of [the] users")
    show.update(STATUS)
    show.update(STATUS)

    first, second = out.getvalue().splitlines()
    assert first.endswith("s] * stage canary: the agent serves 5 % of [the] users")
    assert "stage expand-10, weight 10 %, phase progressing" in second
    assert "errors legacy 0.0%, agent 0.5%" in second
    assert "agreement 98.5% (at least 96.1%)" in second
    assert "fallbacks 4 | failed answers 0 of 2500" in second


def test_a_terminal_gets_a_table_with_the_latest_events_beneath() -> None:
    at, out = console(terminal=True)
    at.height = 24
    show = LiveShow(at)
    for number in range(20):
        show.event(f"event {number}")
    show.update(STATUS)

    at.print(show.render())

    lines = out.getvalue().splitlines()
    legacy, agent = (next(line for line in lines if f"│  {arm} " in line) for arm in ("legacy", "agent"))
    assert legacy.split()[1:-1] == ["legacy", "2,004", "2,321", "0", "0.0%", "41", "ms"]
    assert agent.split()[1:-1] == ["agent", "300", "2,400", "12", "0.5%", "-"]
    assert any("98.5%, at least 96.1% (floor 90 %)" in line for line in lines)
    assert "event 19" in lines[-2]
    assert not any("event 9" in line for line in lines)
    assert len(lines) < 24


def test_the_show_fits_the_console() -> None:
    plain, _ = console()
    terminal, _ = console(terminal=True)

    with open_show(plain) as show:
        assert isinstance(show, PlainShow)
    with open_show(terminal) as show:
        assert isinstance(show, LiveShow)


def test_the_summary_names_the_course_and_what_differed() -> None:
    at, out = console()
    pair = {
        "request": {"body": {"id": "refund-7", "amount": 350, "reason": "late", "order_age_days": 31}},
        "legacy": {"body": {"decision": "denied", "why": "older than 30 days"}},
        "agent": {"body": {"decision": "approved", "why": "close enough"}},
    }

    print_summary(at, Report(course=["shadow", "canary"], shown=["it [works]"], mismatches=[pair]), 42.4)

    said = out.getvalue()
    assert "Shown in 42 s: shadow → canary\n  ✓ it [works]\n" in said
    row = next(line for line in said.splitlines() if "refund-7" in line)
    assert [cell for cell in row.split("  ") if cell.strip()] == [
        "refund-7", " 350.00 euros, late, 31 days", " denied: older than 30 days", " approved: close enough",
    ]  # fmt: skip


def test_a_failure_ends_with_its_reason() -> None:
    at, out = console()

    print_failure(at, "stage canary was not entered", "last line of [the] log")

    assert out.getvalue().splitlines() == [
        "the end of crossfade's log:",
        "last line of [the] log",
        "the demo failed: stage canary was not entered",
    ]
