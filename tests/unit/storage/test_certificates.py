"""What tells that a certificate was renewed."""

from pathlib import Path

import pytest

from proxy.config.listen_schema import Listen, ListenTls
from proxy.config.schema import Config, Route
from proxy.config.upstream_schema import Upstream
from proxy.model.errors import ConfigError
from proxy.storage import certificates
from proxy.storage.certificates import digests


def naming(certificate: Path, key: Path) -> Config:
    return Config(
        listen=Listen(tls=ListenTls(cert_file=str(certificate), key_file=str(key))),
        upstreams={"human": Upstream(url="http://human")},
        routes=(Route(name="refunds", legacy="human"),),
    )


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "tls.crt").write_text("a certificate")
    (tmp_path / "tls.key").write_text("hunter2")
    return naming(tmp_path / "tls.crt", tmp_path / "tls.key")


def test_each_file_has_a_digest_of_its_content(config: Config, tmp_path: Path) -> None:
    before = digests(config)
    assert before.keys() == {f"{tmp_path}/tls.crt", f"{tmp_path}/tls.key"}
    assert digests(config) == before
    (tmp_path / "tls.crt").write_text("a certifikate")
    changed = digests(config)
    assert changed[f"{tmp_path}/tls.crt"] != before[f"{tmp_path}/tls.crt"]
    assert changed[f"{tmp_path}/tls.key"] == before[f"{tmp_path}/tls.key"]


def test_every_file_that_cannot_be_read_is_named_with_its_key(config: Config, tmp_path: Path) -> None:
    (tmp_path / "tls.crt").unlink()
    (tmp_path / "tls.key").unlink()
    with pytest.raises(ConfigError) as caught:
        digests(config)
    assert [str(each) for each in caught.value.problems] == [
        f"listen.tls.cert_file: {tmp_path}/tls.crt cannot be read: No such file or directory",
        f"listen.tls.key_file: {tmp_path}/tls.key cannot be read: No such file or directory",
    ]


def test_a_file_is_bounded(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "MAX_SIZE", 8)
    with pytest.raises(ConfigError, match=r"tls\.crt cannot be read: it is longer than") as caught:
        digests(config)
    assert [each.path for each in caught.value.problems] == ["listen.tls.cert_file"]
