"""Tiny runs of the topics: the same seed gives the same figures, and a rule that is wrong is told."""

import pytest
from click.testing import CliRunner

from benchmarks.page import README, markers
from benchmarks.simulate import command
from benchmarks.simulate.healthy import Setting, healthy
from benchmarks.simulate.shared import KINDS, TIMEOUTS, alike, timeouts
from benchmarks.simulate.speed import FAULTS, speed
from benchmarks.simulate.traffic import Series

QUIET = (Setting(1.0, 0.001, moving=False),)


def eager(series: Series) -> float | None:
    """Rolls back at the end, whatever happens."""
    return series.length


def blind(_series: Series) -> float | None:
    return None


def test_a_rule_that_rolls_back_without_a_reason_misses_its_goal() -> None:
    found = healthy(1, {"eager": eager, "blind": blind}, QUIET)
    assert found.rows[-1].cells == ("all of them", "4 of 4 (at most 100.00%)", "0 of 4")
    still, everything = found.missed
    assert still.endswith(": nothing moves; the goal is eager: at most 0.1%")
    assert everything.endswith(": all of them; the goal is eager: at most 0.1%")


def test_a_rule_that_sees_nothing_is_never_wrong_and_never_in_time() -> None:
    assert healthy(1, {"blind": blind}, QUIET).missed == []
    found = speed(1, {"blind": blind}, FAULTS[:1])
    assert found.rows[0].cells[-1] == "not in 30 min"
    (missed,) = found.missed
    assert missed.endswith(": total outage, 50 requests/s, share 1%; the goal is at most 1.0 s")


def test_a_rule_that_blames_the_agent_for_what_both_do_misses_its_goal() -> None:
    assert len(alike(1, {"eager": eager}, KINDS[3:]).missed) == 1


def test_the_same_seed_gives_the_same_figures() -> None:
    assert speed(2, faults=FAULTS[:1]).markdown() == speed(2, faults=FAULTS[:1]).markdown()


def test_the_guard_finds_a_total_outage_within_a_second() -> None:
    assert speed(3, faults=FAULTS[:1]).missed == []


def test_outcomes_booked_by_completion_blame_the_agent_where_the_guard_does_not() -> None:
    *_, total = timeouts(1, (TIMEOUTS[2],)).rows[:-1]
    guard, completion = total.cells[1:3]
    assert guard.startswith("0 of ")
    assert not completion.startswith("0 of ")


@pytest.mark.parametrize(("topic", "said"), [("split", "Sample ratio"), ("promotion", "Agreement")])
def test_the_command_prints_a_topic_and_how_many_goals_are_met(topic: str, said: str) -> None:
    done = CliRunner().invoke(command.main, ["--topic", topic, "--runs", "1"])
    assert said in done.output
    assert "Goals: " in done.output


def test_the_command_says_by_its_exit_code_that_a_goal_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(command.TOPICS, "healthy", lambda days, _: [healthy(days, {"eager": eager}, QUIET)])
    done = CliRunner().invoke(command.main, ["--topic", "healthy", "--days", "1"])
    assert done.exit_code == 1
    assert "**not met**" in done.output
    assert "Goals: 0 met, 2 not met" in done.output


def test_the_readme_has_the_markers() -> None:
    begin, end = markers(command.SECTION)
    assert README.read_text().index(begin) < README.read_text().index(end)
