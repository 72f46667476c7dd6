"""What a worker serves by when the control process is away."""

import stat
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from proxy.config.compile import compile_snapshot
from proxy.config.load import load
from proxy.model.snapshot import Placement
from proxy.model.words import Phase
from proxy.storage import lastgood
from proxy.storage.lastgood import LastGood

CONFIG = """\
upstreams:
  human: {url: "http://127.0.0.1:9001", set_headers: {x-token: "${TOKEN}"}}
  agent: {url: "http://127.0.0.1:9002"}
routes:
  - name: refunds
    legacy: human
    rollout: {agent: agent, version: v1, salt: s}
"""
PLACEMENTS = {"refunds": Placement("v1", "canary", Phase.PROGRESSING, epoch=3, weight=5_000, shadow=100_000)}
GOOD = LastGood(7, "crossfade.yaml", CONFIG, PLACEMENTS)


def test_it_gives_the_snapshot_that_was_put_to_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hush")
    lastgood.write(tmp_path, GOOD)
    config = load(CONFIG, "crossfade.yaml", {"TOKEN": "hush"}, lastgood.read_text)
    assert lastgood.read(tmp_path) == compile_snapshot(config, PLACEMENTS, 7, {})


def test_it_holds_no_secret_and_is_for_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hush")
    lastgood.write(tmp_path, GOOD)
    (file,) = (tmp_path / "last-good").iterdir()
    assert "hush" not in file.read_text()
    assert "${TOKEN}" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_later_one_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    lastgood.write(tmp_path, GOOD)
    lastgood.write(tmp_path, replace(GOOD, number=8, placements={}))
    found = lastgood.find(tmp_path)
    assert found is not None
    assert (found.number, found.placements) == (8, {})
    assert len(list((tmp_path / "last-good").iterdir())) == 1


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    with capture_logs() as logs:
        assert lastgood.read(tmp_path) is None
    assert logs == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 2, "number": 1, "file": "", "text": "", "placements": {}}'],
)
def test_what_cannot_be_used_is_said_and_left(tmp_path: Path, content: bytes) -> None:
    lastgood.write(tmp_path, GOOD)
    (file,) = (tmp_path / "last-good").iterdir()
    file.write_bytes(content)
    with capture_logs() as logs:
        assert lastgood.read(tmp_path) is None
    assert [line["event"] for line in logs] == ["last_good_unusable"]
    assert file.read_bytes() == content


def test_a_reference_that_leads_nowhere_any_more_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    lastgood.write(tmp_path, GOOD)
    with capture_logs() as logs:
        assert lastgood.read(tmp_path) is None
    assert "TOKEN" in logs[0]["problem"]


def test_a_certificate_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hush")
    (certificate := tmp_path / "tls.crt").write_text("a")
    (tmp_path / "tls.key").write_text("b")
    tls = f"listen: {{tls: {{cert_file: {certificate}, key_file: {tmp_path}/tls.key}}}}\n"
    lastgood.write(tmp_path, replace(GOOD, text=tls + CONFIG))
    found = lastgood.read(tmp_path)
    assert found is not None
    assert found.listen.tls is not None
    assert len(found.listen.tls.digest.split()) == 2
    certificate.unlink()
    with capture_logs() as logs:
        assert lastgood.read(tmp_path) is None
    assert logs[0]["problem"] == f"listen.tls.cert_file: {certificate} cannot be read: No such file or directory"


def test_what_an_earlier_version_kept_has_no_digests(tmp_path: Path) -> None:
    lastgood.write(tmp_path, GOOD)
    (file,) = (tmp_path / "last-good").iterdir()
    document = orjson.loads(file.read_bytes())
    del document["digests"]
    file.write_bytes(orjson.dumps(document))
    assert lastgood.find(tmp_path) == GOOD


def test_a_failed_write_leaves_the_earlier_one_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lastgood.write(tmp_path, GOOD)

    def full(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        lastgood.write(tmp_path, replace(GOOD, number=8))
    found = lastgood.find(tmp_path)
    assert found is not None
    assert found.number == 7
    assert len(list((tmp_path / "last-good").iterdir())) == 1
