"""With which configuration a control process starts."""

from pathlib import Path

import pytest

from proxy.control.process import find_start
from proxy.model.errors import ConfigError
from proxy.storage import lastgood
from proxy.storage.lastgood import LastGood
from tests.certificates import Authority
from tests.unit.control.world import CONFIG


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "crossfade.yaml"
    file.write_text(CONFIG)
    return file


@pytest.mark.parametrize("resume", [False, True])
def test_a_good_file_is_what_it_starts_with(file: Path, tmp_path: Path, resume: bool) -> None:
    lastgood.write(tmp_path, LastGood(7, "before.yaml", CONFIG.replace(":9001", ":9005"), {}))
    start = find_start(file, tmp_path, resume=resume)
    assert start.accepted
    assert start.loaded.text == CONFIG
    assert start.last is not None
    assert start.last.number == 7


def test_a_first_start_with_a_bad_file_fails_although_one_ran_before(file: Path, tmp_path: Path) -> None:
    lastgood.write(tmp_path, LastGood(7, str(file), CONFIG, {}))
    file.write_text("routes: []")
    with pytest.raises(ConfigError):
        find_start(file, tmp_path, resume=False)


def test_one_that_takes_over_goes_on_with_what_ran(file: Path, tmp_path: Path) -> None:
    lastgood.write(tmp_path, LastGood(7, str(file), CONFIG, {}))
    file.write_text("routes: []")
    start = find_start(file, tmp_path, resume=True)
    assert not start.accepted
    assert start.loaded.text == CONFIG


def test_one_that_takes_over_and_finds_nothing_fails(file: Path, tmp_path: Path) -> None:
    file.write_text("routes: []")
    with pytest.raises(ConfigError):
        find_start(file, tmp_path, resume=True)


def test_where_traffic_is_on_a_broken_certificate_changes_nothing(tmp_path: Path, file: Path) -> None:
    """Workers have the certificate that ran; their snapshot stays the same, so none of them reads the broken one."""
    Authority(tmp_path).write()
    file.write_text(f"listen: {{tls: {{cert_file: {tmp_path}/tls.crt, key_file: {tmp_path}/tls.key}}}}\n{CONFIG}")
    ran = find_start(file, tmp_path, resume=False).loaded
    lastgood.write(tmp_path, LastGood(7, ran.file, ran.text, {}, ran.digests))
    (tmp_path / "tls.crt").write_text("half a certif")
    with pytest.raises(ConfigError, match=r"crossfade.yaml:1: listen\.tls\.cert_file: .* holds no certificate"):
        find_start(file, tmp_path, resume=False)
    start = find_start(file, tmp_path, resume=True)
    assert not start.accepted
    assert start.loaded.digests == ran.digests
