"""The way from a file's text to a checked Config. Who calls reads the file; nothing here touches the disk by itself."""

from collections.abc import Iterator
from collections.abc import Mapping as Dict
from functools import lru_cache
from typing import Any, Final

from pydantic import ValidationError

from proxy.config.checks import check
from proxy.config.explain import explain, with_subject
from proxy.config.interpolate import Problem, ReadFile, files_in, interpolate
from proxy.config.schema import Config
from proxy.config.source import Mapping, Scalar, find, format_path, line_of, parse, plain
from proxy.model.errors import ConfigError


def load(text: str, file: str, environment: Dict[str, str], read_file: ReadFile) -> Config:
    """The configuration in `text`; `file` is its name in errors. `read_file` gives what `${file:...}` stands for.

    Raises ConfigError, whose `problems` are all that is wrong, in the order of the file: everything that the first
    step to fail has found (syntax, references, sections, what spans sections).
    """
    root, problems = interpolate(parse(text, file), environment, read_file)
    if problems:
        raise _refused(problems, root, file)
    try:
        config = Config.model_validate(plain(root))
    except ValidationError as error:
        raise _refused(explain(error, root), root, file) from None  # it carries values, which may be secret
    if problems := check(config):
        raise _refused([Problem(path, with_subject(told, path, root)) for path, told in problems], root, file)
    return config


def watched_files(text: str, file: str, environment: Dict[str, str], read_file: ReadFile) -> tuple[str, ...]:
    """The files that a configuration draws in, for a reload to watch: those of `${file:...}`, certificates and keys; of
    one that is refused too, since it may be one of them that is to be mended. Sorted, each once. Raises ConfigError if
    it is no YAML."""
    root = _parse_again(text, file)
    filled, _ = interpolate(root, environment, read_file)
    return tuple(sorted({*files_in(root), *_tls_files_in(filled)}))


_parse_again: Final = lru_cache(maxsize=2)(parse)
"""Who watches asks each second, mostly about the same text."""


def _tls_files_in(root: Mapping) -> Iterator[str]:
    upstreams = find(root, ("upstreams",))
    names = upstreams.entries if isinstance(upstreams, Mapping) else ()
    for path in (("listen", "tls"), *(("upstreams", name, "tls") for name in names)):
        section = find(root, path)
        for key, entry in section.entries.items() if isinstance(section, Mapping) else ():
            if key.endswith("_file") and isinstance(entry.value, Scalar):
                yield entry.value.text


def masked(config: Config) -> dict[str, Any]:
    """The configuration as a JSON-ready document, defaults and all, in the units of the file, fit to be shown.

    The values of `set_headers`, the store's credentials and the secret of overrides are masked. Loaded again it is the
    same configuration, but for what is masked; a masked secret of overrides is refused.
    """
    document = config.model_dump(mode="json", exclude_none=True)
    for route in document["routes"]:
        if "split" in route.get("rollout", {}):
            del route["rollout"]["stages"]
    return document


def _refused(problems: list[Problem], root: Mapping, file: str) -> ConfigError:
    errors = sorted(
        (
            ConfigError(sentence, file=file, line=line_of(root, path), path=format_path(path))
            for path, sentence in problems
        ),
        key=lambda error: error.line,
    )
    return ConfigError.joined(errors)
