"""A configuration with all that is derived from it, and errors at their line."""

from pathlib import Path

import pytest

from proxy.control import configuration
from proxy.control.configuration import at_its_line, worker_count
from proxy.model.errors import ConfigError
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
