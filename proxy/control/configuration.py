"""The configuration as the control plane holds it: the file's text, checked, with all that is derived from it.

Nothing is put to work here; the first start and every reload build a `Loaded` and only then let it take effect. What
the text names is tried too: certificates and keys are read and made into TLS contexts, so that no worker is given what
it cannot use.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.config.compile import listen_tls, upstream_tls
from proxy.config.load import load
from proxy.config.rollout_schema import Rollout
from proxy.config.schema import Config, Route
from proxy.config.source import format_path, line_of, parse
from proxy.control.batching import RouteRules, route_rules
from proxy.control.cpus import usable_cpus
from proxy.gateway.tls import client_context, server_context
from proxy.model.errors import ConfigError
from proxy.rollout.plan import Plan, plan
from proxy.storage import certificates
from proxy.storage.lastgood import read_text


@dataclass(frozen=True, slots=True)
class Loaded:
    """`rollouts`, and the `plans` and `rules` made of them, are by the name of their route. `digests` are those of the
    certificates and keys, by file."""

    file: str
    text: str
    config: Config
    digests: dict[str, str]
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


def build(file: str, text: str, digests: dict[str, str] | None = None) -> Loaded:
    """Raises ConfigError. Where `digests` are given, as of what workers have already, the certificates and keys on disk
    are not looked at."""
    config = load(text, file, os.environ, read_text)
    if digests is None:
        digests = _certificates(config, file, text)
    rollouts = {route.name: route.rollout for route in config.routes if route.rollout is not None}
    plans = {name: plan(name, rollout) for name, rollout in rollouts.items()}
    rules = {name: _rules(name, rollout, config, file, text) for name, rollout in rollouts.items()}
    return Loaded(file, text, config, digests, rollouts, plans, rules)


def _certificates(config: Config, file: str, text: str) -> dict[str, str]:
    """The digests, once a context could be made of each section. Raises ConfigError with all that is wrong."""
    try:
        digests = certificates.digests(config)
    except ConfigError as error:
        raise _placed(error, file, text) from error
    if problems := list(_problems(config, digests)):
        raise _placed(ConfigError.joined(problems), file, text)
    return digests


def _problems(config: Config, digests: dict[str, str]) -> Iterator[ConfigError]:
    if config.listen.tls is not None:
        try:
            server_context(listen_tls(config.listen.tls, digests))
        except ConfigError as error:
            yield error
    for name, upstream in config.upstreams.items():
        if (tls := upstream_tls(upstream, digests)) is not None:
            try:
                client_context(name, tls)
            except ConfigError as error:
                yield error


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
    return _placed(error, loaded.file, loaded.text)


def _placed(error: ConfigError, file: str, text: str) -> ConfigError:
    root = parse(text, file)
    lines = [line_of(root, tuple(each.path.split("."))) for each in error.problems]
    return ConfigError.joined(
        [
            ConfigError(each.problem, file=file, line=line, path=each.path)
            for each, line in zip(error.problems, lines, strict=True)
        ]
    )


def blindly_trusted(config: Config) -> list[str]:
    """The upstreams that may show any certificate."""
    return [name for name, upstream in config.upstreams.items() if upstream.tls and upstream.tls.insecure_skip_verify]


def worker_count(config: Config) -> int:
    """`auto` is one for each CPU that we may use."""
    return usable_cpus() if config.workers == "auto" else config.workers
