"""The way from a file's text to a checked Config. Who calls reads the file; nothing here touches the disk by itself."""

from collections.abc import Mapping as Dict
from typing import Any

from pydantic import ValidationError

from proxy.config.checks import check
from proxy.config.explain import explain, with_subject
from proxy.config.interpolate import Problem, ReadFile, files_in, interpolate
from proxy.config.schema import Config
from proxy.config.source import Mapping, format_path, line_of, parse, plain
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


def watched_files(text: str, file: str) -> tuple[str, ...]:
    """The paths of all `${file:...}` in a configuration, for a reload to watch. Raises ConfigError if it is no YAML."""
    return files_in(parse(text, file))


def masked(config: Config) -> dict[str, Any]:
    """The configuration as a JSON-ready document, defaults and all, in the units of the file, fit to be shown.

    The values of `set_headers` and the store's credentials are masked. Loaded again it is the same configuration, but
    for what is masked.
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
