"""What the tests of this package start from: a small configuration, and ways to load and to spoil it."""

from collections.abc import Mapping

import pytest

from proxy.config.load import load
from proxy.config.rollout_schema import Rollout
from proxy.config.schema import Config
from proxy.model.errors import ConfigError

SMALL = """\
admin: {address: "127.0.0.1:9900"}
upstreams:
  human: {url: "http://127.0.0.1:9001"}
  agent: {url: "http://127.0.0.1:9002"}
routes:
  - name: refunds
    match: {path_prefix: /refunds}
    legacy: human
    rollout:
      agent: agent
      version: "1"
      salt: refunds-1
"""

FILES = {"/run/secrets/token": "s3cret\n"}


def read_file(path: str) -> str:
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory", path)
    return FILES[path]


def loaded(text: str, environment: Mapping[str, str] | None = None) -> Config:
    return load(text, "c.yaml", environment or {}, read_file)


def problems(text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """All that is wrong with a configuration, one line each."""
    with pytest.raises(ConfigError) as caught:
        loaded(text, environment)
    return [str(problem) for problem in caught.value.problems]


def spoiled(old: str, new: str, text: str = SMALL) -> list[str]:
    """All that is wrong once `old` in a configuration has become `new`."""
    assert text.count(old) == 1, f"{old!r} must be there exactly once"
    return problems(text.replace(old, new))


def with_rollout(lines: str) -> str:
    """The small configuration with more keys in its rollout; they start on line 13."""
    return SMALL + "".join(f"      {line}\n" for line in lines.splitlines())


def rollout_of(text: str) -> Rollout:
    """Of the text's first route."""
    rollout = loaded(text).routes[0].rollout
    assert rollout is not None
    return rollout
