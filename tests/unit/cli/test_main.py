"""The group: what is there, what goes wrong, and what is imported meanwhile."""

import subprocess
import sys
import types

import click
import pytest
from click.testing import CliRunner

from proxy import __version__
from proxy.cli import main
from proxy.cli.main import COMMANDS, Source, crossfade
from proxy.model.errors import ConfigError


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command `broken` that fails as our code does."""

    @click.command()
    def broken() -> None:
        raise ConfigError("cannot reach redis://u:hunter2@cache", file="crossfade.yaml", line=3, path="store")

    module = types.ModuleType("tests_broken")
    module.broken = broken  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "tests_broken", module)
    monkeypatch.setitem(COMMANDS, "broken", Source("tests_broken", "Fails.", main._RUN))


def test_help_names_every_command() -> None:
    result = CliRunner().invoke(crossfade, ["--help"])
    assert result.exit_code == 0
    shown = {line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")}
    assert shown >= set(COMMANDS)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_the_overview_imports_no_command(arguments: list[str]) -> None:
    heavy = ("proxy.cli.", "proxy.control", "proxy.gateway", "rich.table", "aiohttp", "redis", "uvloop")
    program = (
        "import sys\n"
        "from proxy.cli.main import crossfade\n"
        f"try: crossfade({arguments})\n"
        "except SystemExit: pass\n"
        f"print([name for name in sys.modules if name.startswith({heavy}) and name != 'proxy.cli.main'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version() -> None:
    assert CliRunner().invoke(crossfade, ["--version"]).stdout == f"crossfade, version {__version__}\n"


def test_a_command_that_is_none_is_a_usage_error() -> None:
    result = CliRunner().invoke(crossfade, ["stauts"])
    assert result.exit_code == 2
    assert "No such command 'stauts'" in result.stderr


@pytest.mark.usefixtures("broken")
def test_an_error_of_ours_is_one_line_on_stderr_without_secrets_and_exit_code_1() -> None:
    result = CliRunner().invoke(crossfade, ["broken"])
    assert result.exit_code == 1
    assert result.stderr == "crossfade: crossfade.yaml:3: store: cannot reach redis://***@cache\n"
    assert result.stdout == ""
