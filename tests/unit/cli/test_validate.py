"""`crossfade validate` and `crossfade schema`, as an operator calls them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.validate import schema, validate
from proxy.config.load import load
from tests.certificates import Authority

SMALL = """\
upstreams:
  human: {url: "http://127.0.0.1:9001"}
  agent: {url: "http://127.0.0.1:9002", set_headers: {authorization: "Bearer ${TOKEN}"}}
store: redis://:${file:secret}@redis:6379/0
routes:
  - name: refunds
    legacy: human
    rollout: {agent: agent, version: "1", salt: refunds-1, gates: {readiness: off}, fallback: {on: [5xx]}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a good configuration in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN", "hunter2")
    (tmp_path / "secret").write_text("hunter3\n")
    (tmp_path / "c.yaml").write_text(SMALL)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(validate, arguments)


def test_a_good_file() -> None:
    result = run("-c", "c.yaml")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "c.yaml: ok, 1 route, 2 upstreams\n", "")


def test_the_file_is_config_crossfade_yaml_where_none_is_named(folder: Path) -> None:
    (folder / "config").mkdir()
    (folder / "c.yaml").rename(folder / "config" / "crossfade.yaml")
    assert run().stdout == "config/crossfade.yaml: ok, 1 route, 2 upstreams\n"


def test_print_shows_what_is_in_force_and_no_secret() -> None:
    result = run("-c", "c.yaml", "--print")
    assert (result.exit_code, result.stderr) == (0, "c.yaml: ok, 1 route, 2 upstreams\n")
    assert "hunter" not in result.stdout
    assert "store: redis://***@redis:6379/0\n" in result.stdout
    assert "authorization: '***'\n" in result.stdout
    assert "drain_timeout: 30s\n" in result.stdout


def test_what_is_printed_is_a_configuration_again(folder: Path) -> None:
    printed = run("-c", "c.yaml", "--print").stdout
    config = load(printed, "printed.yaml", {}, lambda path: path)
    assert config.routes == load(SMALL, "c.yaml", {"TOKEN": "x"}, lambda path: path).routes


def test_every_problem_has_its_line_on_stderr(folder: Path) -> None:
    (folder / "c.yaml").write_text(SMALL.replace("legacy: human", "legcy: human").replace("5xx", "6xx"))
    result = run("-c", "c.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "c.yaml:6: routes[0].legacy: is missing",
        "c.yaml:7: routes[0].legcy: is no known key; did you mean legacy?",
        'c.yaml:8: routes[0].rollout.fallback.on[0]: "6xx" is not known; did you mean 5xx?',
    ]


def test_a_file_that_is_not_there() -> None:
    result = run("-c", "nowhere.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "nowhere.yaml: cannot be read: No such file or directory\n"


def test_a_file_that_is_no_text(folder: Path) -> None:
    (folder / "c.yaml").write_bytes(b"\xff\xfe")
    result = run("-c", "c.yaml")
    assert (result.exit_code, result.stderr) == (1, "c.yaml: is not text in UTF-8\n")


def test_a_secret_that_is_not_there(folder: Path) -> None:
    (folder / "secret").unlink()
    (said,) = run("-c", "c.yaml").stderr.splitlines()
    assert said == "c.yaml:4: store: needs the file secret, which cannot be read: No such file or directory"


def test_certificates_are_tried(folder: Path) -> None:
    tls = "listen: {tls: {cert_file: tls.crt, key_file: tls.key}}\n"
    (folder / "c.yaml").write_text(tls + SMALL)
    assert run("-c", "c.yaml").stderr.splitlines() == [
        "c.yaml:1: listen.tls.cert_file: tls.crt cannot be read: No such file or directory",
        "c.yaml:1: listen.tls.key_file: tls.key cannot be read: No such file or directory",
    ]
    Authority(folder).write()
    assert run("-c", "c.yaml").exit_code == 0
    (folder / "tls.key").write_text("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n")
    result = run("-c", "c.yaml")
    assert result.stderr == "c.yaml:1: listen.tls.key_file: tls.key holds a private key that cannot be read\n"


def test_neither_the_secret_of_overrides_nor_a_key_is_printed(folder: Path) -> None:
    Authority(folder).write()
    tls = "listen: {tls: {cert_file: tls.crt, key_file: tls.key}}\noverride: {secret: '${file:secret}-${TOKEN}-long'}\n"
    (folder / "c.yaml").write_text(tls + SMALL)
    result = run("-c", "c.yaml", "--print")
    assert result.exit_code == 0
    assert "override:\n  secret: '***'\n" in result.stdout
    assert "key_file: tls.key\n" in result.stdout
    assert "hunter" not in result.output
    assert "PRIVATE KEY" not in result.output


def test_the_schema_is_json_for_editors() -> None:
    result = CliRunner().invoke(schema, [])
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["title"] == "Config"
    assert document["required"] == ["upstreams", "routes"]
