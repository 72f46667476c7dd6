"""The installed command: help, version, what a bad file gets, and what a running Crossfade tells of a rollout."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy import __version__
from proxy.routing.bucket import bucketer

COMMAND = Path(sys.executable).with_name("crossfade")
EXAMPLE = Path(__file__).parents[2] / "config" / "crossfade.yaml"

GOOD = """\
listen: {address: "127.0.0.1:0"}
upstreams: {human: {url: "http://127.0.0.1:9001"}}
routes: [{name: all, legacy: human}]
"""


ROLLOUT = """\
listen: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
data_dir: DATA
upstreams: {human: {url: "http://127.0.0.1:9001"}, agent: {url: "http://127.0.0.1:9002"}}
routes:
  - name: refunds
    legacy: human
    rollout:
      agent: agent
      version: v1
      key: [{header: x-user-id}, {query: user}]
      salt: refunds-1
      stages: [{name: shadow, weight: 0, soak: 24h}, {name: canary, weight: 5, soak: 1h}, {name: full, weight: 100}]
"""


def crossfade(*arguments: str, told: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False, input=told)


@contextmanager
def running(file: Path, log: Path) -> Iterator[str]:
    """`crossfade run`; gives its admin API's address. It must end well."""
    with (
        log.open("wb") as sink,
        subprocess.Popen([COMMAND, "run", "-c", file], stderr=subprocess.PIPE, text=True) as ran,
    ):
        assert ran.stderr
        try:
            for line in ran.stderr:
                sink.write(line.encode())
                if '"event":"listening"' in line:
                    break
            yield f"http://{json.loads(line)['admin']}"
        finally:
            ran.terminate()
            sink.writelines(line.encode() for line in ran.stderr)
            assert ran.wait(timeout=60) == 0


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


KEY = "alice-9f83@example.com"


def await_gates(admin: str) -> None:
    """Until the rollout has been looked at for the first time."""
    deadline = time.monotonic() + 30
    while not json.loads(crossfade("status", "refunds", "--json", "--admin", admin).stdout)["gates"]:
        assert time.monotonic() < deadline


def test_what_a_running_crossfade_tells_of_a_user_and_of_a_rollout(tmp_path: Path) -> None:
    file, log, data = tmp_path / "c.yaml", tmp_path / "log", tmp_path / "data"
    file.write_text(ROLLOUT.replace("DATA", str(data)))
    bucket = bucketer("refunds-1")(KEY.encode())
    with running(file, log) as admin:
        told = crossfade("explain", "refunds", "--key", "-", "--json", "--admin", admin, told=f"{KEY}\n")
        await_gates(admin)
        moved = crossfade("promote", "refunds", "--reason", "I have looked at the pairs", "--admin", admin)
        shown = crossfade("explain", "refunds", "--key", KEY, "--admin", admin)
        moves = crossfade("history", "refunds", "--admin", admin)
        seen = crossfade("evidence", "refunds", "--admin", admin)
        await_gates(admin)
        stands = crossfade("status", "refunds", "--admin", admin)
    explained = json.loads(told.stdout)
    assert (explained["bucket"], explained["now"]["arm"]) == (bucket, "legacy")
    assert explained["enters"] == ("canary" if bucket < 5_000 else "full")
    assert (moved.returncode, moved.stdout) == (0, "refunds: progressing at canary, 5 % to agent\n")
    assert f"bucket {bucket:,} is " in shown.stdout
    lines = [line.rstrip() for line in moves.stdout.splitlines()]
    assert [line.split()[3] for line in lines if line.startswith("20")] == ["promote", "begin"]
    assert "  progressing shadow 0 % → progressing canary 5 %, version v1" in lines
    assert "  I have looked at the pairs" in lines
    assert any(line.split()[:2] == ["soak", "inconclusive"] for line in lines)  # it was promoted on less than its gates
    assert (seen.returncode, stands.returncode) == (0, 0)
    assert "waits for  soak (" in stands.stdout
    kept = [path for path in data.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in (log, *kept) if KEY.encode() in path.read_bytes()]
