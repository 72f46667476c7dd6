"""From what pydantic says to what an operator can act on: a path as in the file, and a sentence.

Pydantic's locations name branches of unions and keys of mappings; its sentences speak of types. Here a location is
followed through the file's tree, so that only steps that stand in the file are left, and each kind of error has its own
sentence. The value is the sentence's subject, as the operator wrote it: a reference is shown, what it stands for is
not. Values that may hold credentials are never shown.
"""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.config.fields import Section
from proxy.config.interpolate import Problem
from proxy.config.schema import Config
from proxy.config.source import Mapping, Node, Path, Scalar, Sequence, find, scalar
from proxy.config.units import UnfitError

_SECRET: Final = frozenset({"set_headers", "store", "url", "override", "cert_file", "key_file"})
"""Values at or below these keys may hold credentials; a file's name, the file itself by mistake."""

_MAX_SHOWN: Final = 60

_SENTENCES: Final = {
    "string_type": "must be text; put it in quotes",
    "string_too_long": "is longer than {max_length} characters",
    "float_type": "is no number",
    "float_parsing": "is no number",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "greater_than": "is too small; it must be over {gt:g}",
    "greater_than_equal": "is too small; it must be at least {ge:g}",
    "less_than_equal": "is too large; it must be at most {le:g}",
    "model_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
    "too_short": "must not be empty",
    "too_long": "has more than {max_length} entries",
}


def explain(error: ValidationError, root: Mapping) -> list[Problem]:
    """The problems of a configuration, in pydantic's order."""
    return [
        _problem(details, root)
        for details in error.errors(include_url=False, include_input=False)
        if not _echo(details, root)
    ]


def with_subject(sentence: str, path: Path, root: Mapping) -> str:
    """The sentence with the value at `path` as its subject, where that is a single value that may be shown."""
    node = find(root, path)
    if not isinstance(node, Scalar):
        return sentence
    if scalar(node) is None:
        return "has no value; write one, or leave the key out"
    if not _SECRET.isdisjoint(path):
        return sentence
    return f"{_shown(node)} {sentence}"


def closest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where one of the known words is close, else the list of them."""
    known = sorted(known)
    near = get_close_matches(word, known, 1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"


def _problem(details: ErrorDetails, root: Mapping) -> Problem:
    path, rest = _follow(root, details["loc"])
    context = details.get("ctx", {})
    match details["type"]:
        case "missing":
            return Problem((*path, *rest[-1:]), "is missing")
        case "extra_forbidden":
            return Problem(path, _unknown_key(path))
        case "value_error" if isinstance(unfit := context["error"], UnfitError):
            path, sentence = (*path, *unfit.at), str(unfit)
        case "literal_error" | "enum":
            sentence = _choice(find(root, path), context["expected"])
        case "unfit":
            sentence = details["msg"]
        case "string_too_short":
            least = context["min_length"]
            sentence = f"is shorter than {least} characters" if least > 1 else "must not be empty"
        case kind if kind in _SENTENCES:
            sentence = _SENTENCES[kind].format_map(context)
        case _:
            sentence = f"is not accepted: {details['msg']}"
    if rest[-1:] == ("[key]",):
        return Problem(path, f"{_quote(str(path[-1]))} {sentence}")
    return Problem(path, with_subject(sentence, path, root))


def _echo(details: ErrorDetails, root: Mapping) -> bool:
    """A list whose items are all bad is empty to pydantic; to the operator it is not, and the items are at fault."""
    node = find(root, _follow(root, details["loc"])[0])
    return details["type"] == "too_short" and isinstance(node, Mapping | Sequence) and node.size > 1


def _follow(root: Node, location: tuple[str | int, ...]) -> tuple[Path, tuple[str | int, ...]]:
    """The steps of a location that stand in the file, and those after the last of them."""
    path: Path = ()
    rest: tuple[str | int, ...] = ()
    node = root
    for step in location:
        match node:
            case Mapping() if step in node.entries:
                node, path, rest = node.entries[str(step)].value, (*path, step), ()
            case Sequence() if isinstance(step, int) and step < len(node.items):
                node, path, rest = node.items[step], (*path, step), ()
            case _:
                rest = (*rest, step)
    return path, rest


def _shown(node: Scalar) -> str:
    return _quote(node.written) if isinstance(scalar(node), str) and node.text == node.written else _cut(node.written)


def _quote(text: str) -> str:
    return f'"{_cut(text)}"'


def _cut(text: str) -> str:
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _choice(node: Node | None, expected: str) -> str:
    """`expected` is pydantic's list: `'a', 'b' or 'c'`."""
    words = re.findall(r"'([^']*)'", expected)
    if isinstance(node, Scalar) and (near := get_close_matches(node.written, words, 1)):
        return f"is not known; did you mean {near[0]}?"
    return f"is not known; write {expected.replace(chr(39), '')}" if len(words) > 1 else f"must be {words[0]}"


def _unknown_key(path: Path) -> str:
    sections = list(_sections(Config, path[:-1]))
    for section in sections:
        if (sentence := section.not_yet.get(str(path[-1]))) is not None:
            return sentence
    return "is no known key" + closest(str(path[-1]), {name for section in sections for name in section.model_fields})


def _sections(annotation: Any, path: Path) -> Iterator[type[Section]]:
    """The sections that may stand at `path`, found through the annotations of the schema."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        if not path:
            yield annotation
        elif path[0] in annotation.model_fields:
            yield from _sections(annotation.model_fields[str(path[0])].annotation, path[1:])
    elif origin in {Annotated, Union, UnionType}:
        for argument in arguments:
            yield from _sections(argument, path)
    elif origin in {tuple, dict} and path:
        yield from _sections(arguments[1 if origin is dict else 0], path[1:])
