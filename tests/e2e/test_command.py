"""The installed command: help, version, and what a bad file gets."""

import subprocess
import sys
from pathlib import Path

import pytest

from proxy import __version__

COMMAND = Path(sys.executable).with_name("crossfade")
EXAMPLE = Path(__file__).parents[2] / "config" / "crossfade.yaml"

GOOD = """\
listen: {address: "127.0.0.1:0"}
upstreams: {human: {url: "http://127.0.0.1:9001"}}
routes: [{name: all, legacy: human}]
"""


def crossfade(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "crossfade.yaml"


def test_help_names_every_command() -> None:
    ran = crossfade("--help")

    assert ran.returncode == 0
    for command in (
        "run",
        "validate",
        "schema",
        "status",
        "promote",
        "pause",
        "resume",
        "abort",
        "retry",
        "pairs",
        "explain",
        "history",
        "evidence",
        "demo",
    ):
        assert f"\n  {command} " in ran.stdout


def test_version() -> None:
    ran = crossfade("--version")

    assert (ran.returncode, ran.stdout.strip().split()[-1]) == (0, __version__)


def test_an_unknown_command_is_a_usage_error() -> None:
    assert crossfade("dance").returncode == 2


def test_the_shipped_configuration_is_valid() -> None:
    ran = crossfade("validate", "-c", str(EXAMPLE))

    assert (ran.returncode, ran.stderr) == (0, "")


BAD = [
    (GOOD.replace("legacy: human", "legacy: robot"), "crossfade.yaml:3: routes[0].legacy: "),
    (GOOD + "colour: red\n", "crossfade.yaml:4: colour: "),
    (GOOD + "workers: many\n", "crossfade.yaml:4: workers: "),
    (GOOD + "listen: {}\n", "crossfade.yaml:4: "),
    ("routes: [\n", "crossfade.yaml:2: "),
]


@pytest.mark.parametrize("command", ["validate", "run"])
@pytest.mark.parametrize(("text", "problem"), BAD, ids=["upstream", "key", "value", "duplicate", "yaml"])
def test_a_bad_file_is_one_line_and_exit_code_1(file: Path, command: str, text: str, problem: str) -> None:
    file.write_text(text)

    ran = crossfade(command, "-c", str(file))

    assert (ran.returncode, ran.stdout) == (1, "")
    assert problem in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_missing_file_is_one_line_and_exit_code_1(file: Path, command: str) -> None:
    ran = crossfade(command, "-c", str(file))

    assert ran.returncode == 1
    assert f"{file}: " in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
