"""`crossfade override`, as whoever hands out passes calls it."""

import json
import time
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import crossfade
from proxy.model.words import Arm
from proxy.routing.override import verify

SECRET = "sixteen-or-more-characters"
CONFIG = """\
upstreams:
  human: {url: "http://127.0.0.1:9001"}
  agent: {url: "http://127.0.0.1:9002"}
override: {secret: "${OVERRIDE_SECRET}"}
routes:
  - {name: plain, match: {path_prefix: /plain}, legacy: human}
  - name: refunds
    legacy: human
    rollout: {agent: agent, version: "1", salt: refunds-1, gates: {readiness: off}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a good configuration in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVERRIDE_SECRET", SECRET)
    (tmp_path / "c.yaml").write_text(CONFIG)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(crossfade, ["override", *arguments, "-c", "c.yaml"])


def accepted(header: str, now: float) -> tuple[Arm | None, str]:
    name, _, value = header.partition(": ")
    assert name == "x-crossfade-arm"
    return verify(SECRET.encode(), "refunds", value.encode(), now)


def test_the_header_is_one_line_to_send_and_works_for_an_hour() -> None:
    result = run("refunds")
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    header, now = result.stdout.rstrip("\n"), time.time()
    assert accepted(header, now) == (Arm.AGENT, "accepted")
    assert accepted(header, now + 3590) == (Arm.AGENT, "accepted")
    assert accepted(header, now + 3600) == (None, "expired")
    assert SECRET not in header


def test_for_legacy_and_for_long() -> None:
    header = run("refunds", "--arm", "legacy", "--for", "30d").stdout.rstrip("\n")
    assert accepted(header, time.time()) == (Arm.LEGACY, "accepted")
    assert accepted(header, time.time() + 29 * 86400) == (Arm.LEGACY, "accepted")


def test_as_json() -> None:
    said = json.loads(run("refunds", "--for", "1h30m", "--json").stdout)
    assert {name: said[name] for name in ("route", "arm", "header")} == {
        "route": "refunds", "arm": "agent", "header": "x-crossfade-arm",
    }  # fmt: skip
    assert accepted(f"{said['header']}: {said['value']}", time.time()) == (Arm.AGENT, "accepted")
    left = datetime.fromisoformat(said["expires"]).timestamp() - time.time()
    assert 5300 < left <= 5400


def test_without_an_override_section(folder: Path) -> None:
    (folder / "c.yaml").write_text(CONFIG.replace("override:", "#"))
    result = run("refunds")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "crossfade: c.yaml: override: is missing; add override: {secret: ${OVERRIDE_SECRET}}, a secret of at least 16 "
        "characters\n"
    )


def test_a_route_that_is_not_there() -> None:
    result = run("refnds")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "crossfade: c.yaml: routes: has no 'refnds'; did you mean refunds?\n"


def test_a_route_without_a_rollout() -> None:
    result = run("plain")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "crossfade: c.yaml: routes[0]: has no rollout, so legacy serves all of plain\n"


@pytest.mark.parametrize(
    ("duration", "told"),
    [
        ("soon", "'soon' is no duration; write a number with its unit, such as 500ms, 20s, 5m, 24h or 7d"),
        ("0", "'0' is not between 1s and 30d"),
        ("500ms", "'500ms' is not between 1s and 30d"),
        ("31d", "'31d' is not between 1s and 30d"),
    ],
)
def test_a_duration_that_is_none(duration: str, told: str) -> None:
    result = run("refunds", "--for", duration)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_a_configuration_that_cannot_be_used(folder: Path) -> None:
    (folder / "c.yaml").write_text(CONFIG.replace("legacy: human}", "legacy: humn}"))
    result = run("refunds")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("crossfade: c.yaml:6: routes[0].legacy: ")


def test_whoever_signs_needs_none_of_the_gateways_keys(folder: Path) -> None:
    (folder / "c.yaml").write_text("listen: {tls: {cert_file: /gone.crt, key_file: /gone.key}}\n" + CONFIG)
    assert run("refunds").exit_code == 0
