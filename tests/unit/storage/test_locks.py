import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.model.errors import ConfigError
from proxy.storage.locks import claim, try_lock


def test_one_at_a_time(tmp_path: Path) -> None:
    first = try_lock(tmp_path / "lock")
    assert first is not None
    assert try_lock(tmp_path / "lock") is None
    os.close(first)
    second = try_lock(tmp_path / "lock")
    assert second is not None
    os.close(second)


def test_a_data_dir_in_use_is_refused_with_its_holder(tmp_path: Path) -> None:
    fd = claim(tmp_path / "deep" / "data")
    with pytest.raises(
        ConfigError, match=rf"data_dir: .*data is in use by another crossfade \(process {os.getpid()}\)"
    ):
        claim(tmp_path / "deep" / "data")
    os.close(fd)
    os.close(claim(tmp_path / "deep" / "data"))


def test_a_data_dir_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"data_dir: .* cannot be used: Not a directory"):
        claim(tmp_path / "file" / "data")


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from proxy.storage.locks import claim;"
        "claim(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(ConfigError, match=f"process {holder.pid}"):
            claim(tmp_path)
        holder.kill()
    os.close(claim(tmp_path))
