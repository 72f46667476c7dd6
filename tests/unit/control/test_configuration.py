"""A configuration with all that is derived from it, and errors at their line."""

from pathlib import Path

import pytest

from proxy.control import configuration
from proxy.control.configuration import at_its_line, worker_count
from proxy.model.errors import ConfigError
from tests.certificates import Authority
from tests.unit.control.world import CONFIG, loaded


def test_plans_and_rules_are_there_for_each_rollout() -> None:
    found = loaded()
    assert found.rollouts.keys() == found.plans.keys() == found.rules.keys() == {"refunds"}
    assert [stage.name for stage in found.plans["refunds"].stages] == ["shadow", "canary", "full"]
    assert list(found.routes) == ["refunds", "plain"]


def test_an_error_found_later_gets_its_file_and_line() -> None:
    config = loaded(f"store: embedded\nlisten:\n  address: 127.0.0.1:8080\n{CONFIG}")
    error = at_its_line(ConfigError("is in use", path="listen.address"), config)
    assert str(error) == "crossfade.yaml:3: listen.address: is in use"


def test_of_a_setting_that_is_not_written_the_nearest_line_is_named() -> None:
    assert str(at_its_line(ConfigError("is in use", path="admin.address"), loaded())) == (
        "crossfade.yaml:1: admin.address: is in use"
    )


def test_an_error_that_knows_its_file_keeps_it() -> None:
    error = ConfigError("holds no token", file="tokens", line=4)
    assert at_its_line(error, loaded()) is error


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        configuration.read(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not text in UTF-8"):
        configuration.read(tmp_path / "binary.yaml")


def test_auto_is_a_worker_for_each_cpu_that_we_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0, 2, 3})
    assert worker_count(loaded(f"workers: auto\n{CONFIG}").config) == 3
    assert worker_count(loaded(f"workers: 2\n{CONFIG}").config) == 2


# Certificates and keys

AGENT = 'agent: {url: "http://127.0.0.1:9002"}'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a certificate, its key and its CA, and another's key."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    authority = Authority(tmp_path)
    authority.write()
    Path(authority.ca_file).rename(tmp_path / "ca.pem")
    Authority(tmp_path / "other").write()
    (tmp_path / "broken").write_text("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n")
    (tmp_path / "empty").touch()
    return tmp_path


def secure(listen: str = "{cert_file: tls.crt, key_file: tls.key}", agent: str = "{ca_file: ca.pem}") -> str:
    return f"listen:\n  tls: {listen}\n" + CONFIG.replace(AGENT, f"agent: {{url: 'https://agent', tls: {agent}}}")


def test_what_is_right_gets_a_digest_for_each_file(folder: Path) -> None:
    text = secure("{cert_file: tls.crt, key_file: tls.key, client_ca_file: ca.pem}")
    assert loaded(text).digests.keys() == {"tls.crt", "tls.key", "ca.pem"}
    assert loaded().digests == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (secure("{cert_file: gone, key_file: tls.key}"), "2: listen.tls.cert_file: gone cannot be read: No such file"),
        (
            secure("{cert_file: tls.crt, key_file: other}"),
            "2: listen.tls.key_file: other cannot be read: Is a directory",
        ),
        (secure("{cert_file: empty, key_file: tls.key}"), "2: listen.tls.cert_file: empty holds no certificate"),
        (
            secure("{cert_file: tls.crt, key_file: other/tls.key}"),
            "2: listen.tls.key_file: other/tls.key is not the key",
        ),
        (secure("{cert_file: tls.crt, key_file: broken}"), "2: listen.tls.key_file: broken holds a private key that"),
        (
            secure("{cert_file: tls.crt, key_file: tls.key, client_ca_file: tls.key}"),
            "2: listen.tls.client_ca_file: tls.key holds no certificate",
        ),
        (secure(agent="{ca_file: gone}"), "5: upstreams.agent.tls.ca_file: gone cannot be read: No such file"),
        (secure(agent="{ca_file: broken}"), "5: upstreams.agent.tls.ca_file: broken holds no certificate"),
        (
            secure(agent="{cert_file: tls.crt, key_file: other/tls.key}"),
            "5: upstreams.agent.tls.key_file: other/tls.key is not the key",
        ),
    ],
)
def test_what_no_connection_could_be_made_with_is_refused_at_its_line(folder: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    assert str(caught.value).startswith(f"crossfade.yaml:{said}")
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"


def test_all_that_is_wrong_is_told_at_once(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(secure("{cert_file: empty, key_file: tls.key}", "{ca_file: broken}"))
    assert [(each.line, each.path) for each in caught.value.problems] == [
        (2, "listen.tls.cert_file"),
        (5, "upstreams.agent.tls.ca_file"),
    ]
    with pytest.raises(ConfigError) as caught:
        loaded(secure("{cert_file: gone, key_file: gone}", "{ca_file: gone}"))
    assert [each.path for each in caught.value.problems] == [
        "listen.tls.cert_file",
        "listen.tls.key_file",
        "upstreams.agent.tls.ca_file",
    ]


def test_what_workers_have_already_is_not_looked_at_again(folder: Path) -> None:
    digests = loaded(secure()).digests
    (folder / "tls.crt").unlink()
    assert configuration.build("crossfade.yaml", secure(), digests).digests == digests
