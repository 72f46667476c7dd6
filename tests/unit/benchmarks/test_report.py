from pathlib import Path

import pytest

from benchmarks.errors import BenchError
from benchmarks.load.cases import Goal, Measure
from benchmarks.load.ratios import spread
from benchmarks.load.report import FIGURES, PROFILE, verdict
from benchmarks.page import README, markdown, markers, write_readme

BEGIN, END = markers(FIGURES)
GOAL = Goal("mirror-post", Measure.CPU, must=0.85, aim=0.7, peer="nginx", other="mirror-post")


@pytest.mark.parametrize(
    ("measured", "said"), [(0.7, "met, and the aim too"), (0.71, "met"), (0.85, "met"), (0.86, "**not met**")]
)
def test_a_verdict_is_of_the_median(measured: float, said: str) -> None:
    found = spread([0.1, measured, 9.0])
    assert found is not None
    assert verdict(GOAL, found) == said


@pytest.mark.parametrize(("measured", "said"), [(0.5, "met"), (2.0, "met"), (0.49, "**not met**")])
def test_a_throughput_is_to_be_high_and_a_goal_may_have_no_aim(measured: float, said: str) -> None:
    found = spread([measured])
    assert found is not None
    assert verdict(Goal("download-1m", Measure.THROUGHPUT, must=0.5, peer="nginx", other="download-1m"), found) == said


def test_figures_are_replaced_and_the_prose_around_them_stays(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Above\n\n{BEGIN}\nold\n{END}\n\nBelow.\n")
    write_readme(FIGURES, "new", readme)
    write_readme(FIGURES, "newer", readme)
    assert readme.read_text() == f"# Above\n\n{BEGIN}\n\nnewer\n\n{END}\n\nBelow.\n"


def test_a_readme_without_markers_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"Only one: {BEGIN}")
    with pytest.raises(BenchError, match=r"README\.md has no markers"):
        write_readme(FIGURES, "new", readme)
    assert readme.read_text() == f"Only one: {BEGIN}"


@pytest.mark.parametrize("section", [FIGURES, PROFILE], ids=lambda section: section[0])
def test_the_readme_has_its_markers(section: tuple[str, str]) -> None:
    begin, end = markers(section)
    assert README.read_text().index(begin) < README.read_text().index(end)


def test_words_are_aligned_to_the_left_and_figures_to_the_right() -> None:
    assert markdown(("goal", "must"), [("a", "2 x")]).splitlines() == [
        "| goal | must |",
        "|:-----|-----:|",
        "| a    |  2 x |",
    ]
