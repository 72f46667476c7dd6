"""The configuration as the control plane holds it: the file's text, checked, with all that is derived from it.

Nothing is put to work here; the first start and every reload build a `Loaded` and only then let it take effect.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from proxy.config.load import load
from proxy.config.rollout_schema import Rollout
from proxy.config.schema import Config, Route
from proxy.config.source import format_path, line_of, parse
from proxy.control.batching import RouteRules, route_rules
from proxy.model.errors import ConfigError
from proxy.rollout.plan import Plan, plan
from proxy.storage.lastgood import read_text


@dataclass(frozen=True, slots=True)
class Loaded:
    """`rollouts`, and the `plans` and `rules` made of them, are by the name of their route."""

    file: str
    text: str
    config: Config
    rollouts: dict[str, Rollout]
    plans: dict[str, Plan]
    rules: dict[str, RouteRules]

    @property
    def routes(self) -> dict[str, Route]:
        return {route.name: route for route in self.config.routes}


def read(file: Path) -> Loaded:
    """The configuration that stands in `file` now. Raises ConfigError."""
    return build(str(file), read_file(file))


def read_file(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(file)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not text in UTF-8", file=str(file)) from error


def build(file: str, text: str) -> Loaded:
    """Raises ConfigError."""
    config = load(text, file, os.environ, read_text)
    rollouts = {route.name: route.rollout for route in config.routes if route.rollout is not None}
    plans = {name: plan(name, rollout) for name, rollout in rollouts.items()}
    rules = {name: _rules(name, rollout, config, file, text) for name, rollout in rollouts.items()}
    return Loaded(file, text, config, rollouts, plans, rules)


def _rules(name: str, rollout: Rollout, config: Config, file: str, text: str) -> RouteRules:
    try:
        return route_rules(rollout)
    except ValueError as error:
        index = [route.name for route in config.routes].index(name)
        path = ("routes", index, "rollout", "compare")
        line = line_of(parse(text, file), path)
        raise ConfigError(str(error), file=file, line=line, path=format_path(path)) from error


def at_its_line(error: ConfigError, loaded: Loaded) -> ConfigError:
    """The same error with file and line, for a value that turned out bad only when it was put to use. Its `path` names
    keys alone, as in `listen.address`."""
    if error.file:
        return error
    line = line_of(parse(loaded.text, loaded.file), tuple(error.path.split(".")))
    return ConfigError(error.problem, file=loaded.file, line=line, path=error.path)


def worker_count(config: Config) -> int:
    """`auto` is one for each CPU that we may use."""
    return len(os.sched_getaffinity(0)) if config.workers == "auto" else config.workers
