"""References in text: `${VAR}`, `${VAR:-default}`, `${file:/run/secrets/x}`; `$${` writes a plain `${`.

Values only, never keys, in one pass: what a reference stands for is not looked at again. A scalar that held a
reference is text, quoted or not, as in Docker Compose: `version: ${BUILD}` keeps its leading zeros, a token that reads
`null` stays a token, and `workers: ${N}` works because the schema reads numbers and booleans from text where it wants
them. A problem names the variable or the file, never what it holds.
"""

import re
from collections.abc import Callable, Iterator
from collections.abc import Mapping as Dict
from dataclasses import replace
from typing import Final, NamedTuple

from proxy.config.source import Entry, Mapping, Node, Path, Scalar, Sequence

ReadFile = Callable[[str], str]
"""The text of a file. OSError where it cannot be read, ValueError where it is no text."""

MAX_VALUE: Final = 64 << 10
"""Characters that one scalar may have once its references are filled in."""

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{(?P<body>[^{}]*)\}|\$\{")
_BODY: Final = re.compile(r"file:(?P<file>.+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


class Problem(NamedTuple):
    """What is wrong at a path of the tree. The sentence has no subject: the path or the value is its subject."""

    path: Path
    sentence: str


class _BadReferenceError(Exception):
    """One reference cannot be filled in; `str()` is the sentence."""


def interpolate(root: Mapping, environment: Dict[str, str], read_file: ReadFile) -> tuple[Mapping, list[Problem]]:
    """The tree with its references filled in, and the problems met: a scalar with a problem is left as it is."""
    problems: list[Problem] = []

    def fill(node: Node, path: Path) -> Node:
        match node:
            case Mapping():
                return fill_mapping(node, path)
            case Sequence():
                return replace(node, items=tuple(fill(item, (*path, index)) for index, item in enumerate(node.items)))
            case _:
                try:
                    return replace(node, text=_expand(node.text, environment, read_file))
                except _BadReferenceError as error:
                    problems.append(Problem(path, str(error)))
                    return node

    def fill_mapping(node: Mapping, path: Path) -> Mapping:
        entries = {key: Entry(line, fill(value, (*path, key))) for key, (line, value) in node.entries.items()}
        return replace(node, entries=entries)

    return fill_mapping(root, ()), problems


def files_in(root: Node) -> tuple[str, ...]:
    """The paths of all `${file:...}`, sorted, each once."""
    bodies = (match["body"] or "" for node in _scalars(root) for match in _REFERENCE.finditer(node.text))
    return tuple(sorted({body.removeprefix("file:") for body in bodies if body.startswith("file:")}))


def _scalars(node: Node) -> Iterator[Scalar]:
    match node:
        case Mapping():
            for entry in node.entries.values():
                yield from _scalars(entry.value)
        case Sequence():
            for item in node.items:
                yield from _scalars(item)
        case _:
            yield node


def _expand(text: str, environment: Dict[str, str], read_file: ReadFile) -> str:
    def value(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        body = _BODY.fullmatch(match["body"] or "")
        if body is None:
            raise _BadReferenceError(
                "holds a malformed reference; write ${VAR}, ${VAR:-default} or ${file:/path}, and $${ for a plain ${"
            )
        if body["file"]:
            return _read(body["file"], read_file)
        return _variable(body["name"], body["default"], environment)

    filled = _REFERENCE.sub(value, text)
    if len(filled) > MAX_VALUE and filled != text:
        raise _BadReferenceError(f"is longer than {MAX_VALUE} characters once its references are filled in")
    return filled


def _variable(name: str, default: str | None, environment: Dict[str, str]) -> str:
    """As in a shell, the default also stands in for an empty variable."""
    if default is not None:
        return environment.get(name) or default
    if name not in environment:
        raise _BadReferenceError(
            f"needs the environment variable {name}, which is not set; set it or write ${{{name}:-default}}"
        )
    return environment[name]


def _read(path: str, read_file: ReadFile) -> str:
    """A file's text without its line end: editors and `echo` put one there."""
    try:
        return read_file(path).removesuffix("\n").removesuffix("\r")
    except OSError as error:
        reason = error.strerror or "it is no readable file"
        raise _BadReferenceError(f"needs the file {path}, which cannot be read: {reason}") from error
    except ValueError:  # its message may hold a part of the file
        raise _BadReferenceError(f"needs the file {path}, which is not text in UTF-8") from None
