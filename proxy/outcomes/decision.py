"""Reading a value out of an answer by JSONPath (RFC 9535).

A path is compiled once. Paths of members and indices (`$.a.b[0]`) become direct lookups; the others (wildcards,
filters, descendants) are python-jsonpath's, which is some fifty times slower.
"""

import re
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import jsonpath
from jsonpath.segments import JSONPathChildSegment, JSONPathRecursiveDescentSegment
from jsonpath.selectors import IndexSelector, NameSelector, WildcardSelector

Part = str | int | None
"""A step of a path: a member's name, an array's index, or None for "each" (`*`)."""


Place = tuple[str | int, ...]
"""Where a value is in a document: member names and indices from the root."""


class _Missing(Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing.MISSING
"""What a path gives where the document has nothing at it. (JSON's null is None.)"""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPECIAL: Final = re.compile(r"[\x00-\x1f'\\]")
_ENVIRONMENT: Final = jsonpath.JSONPathEnvironment(strict=True)


def check_path(text: str) -> None:
    """Raises ValueError with a sentence for the operator where `text` is no JSONPath."""
    _parse(text)


def compile_path(text: str) -> Callable[[Any], Any]:
    """A function from a decoded JSON document (or MISSING) to the value at the path, or MISSING.

    A path that finds several values gives the list of them. Raises ValueError where `text` is no JSONPath.
    """
    parts = plain_parts(text)
    if parts is not None and None not in parts:
        return _lookup(tuple(part for part in parts if part is not None))
    query = _parse(text)

    def search(document: Any) -> Any:
        if document is MISSING or isinstance(document, str):
            return MISSING  # python-jsonpath would read the text as JSON
        try:
            found = query.findall(document)
        except jsonpath.JSONPathError:  # a filter that does not fit this document, or one nested too deep
            return MISSING
        return found[0] if len(found) == 1 else found or MISSING

    return search


def plain_parts(text: str) -> tuple[Part, ...] | None:
    """The path's steps where it has only members, indices from the start and wildcards; None for any other path."""
    parts: list[Part] = []
    for segment in _parse(text).segments:
        if not isinstance(segment, JSONPathChildSegment) or len(segment.selectors) != 1:
            return None
        match segment.selectors[0]:
            case NameSelector(name=name):
                parts.append(name)
            case IndexSelector(index=index) if index >= 0:
                parts.append(index)
            case WildcardSelector():
                parts.append(None)
            case _:
                return None
    return tuple(parts)


def last_name(text: str) -> str:
    """The last member's name in a path: `email` of `$.customer.email` and of `$..email[*]`; empty where it has none."""
    for segment in reversed(_parse(text).segments):
        for selector in reversed(segment.selectors):
            if isinstance(selector, NameSelector):
                return selector.name
    return ""


def locations(text: str) -> Callable[[Any], list[Place]]:
    """A function from a document to where the path's values are in it, for paths that are not plain."""
    query = _parse(text)
    match query.segments:
        case [JSONPathRecursiveDescentSegment(selectors=[NameSelector(name=name)])]:
            return _anywhere(name)

    def find(document: Any) -> list[Place]:
        if isinstance(document, str):
            return []
        try:
            return [match.parts for match in query.finditer(document)]
        except jsonpath.JSONPathError:
            return []

    return find


@lru_cache(maxsize=4096)
def path_text(place: Place) -> str:
    """The place as an operator writes it: `$.items[0].id`, `$['not a name']`."""
    return "$" + "".join(_step_text(part) for part in place)


def _step_text(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    if _NAME.fullmatch(part):
        return f".{part}"
    return "['" + _SPECIAL.sub(_escaped, part) + "']"


def _escaped(found: re.Match[str]) -> str:
    return f"\\{found[0]}" if found[0] in "'\\" else f"\\u{ord(found[0]):04x}"


def _anywhere(name: str) -> Callable[[Any], list[Place]]:
    """`$..name`, the most common of these paths: every value of every body is looked at for it."""

    def look(value: Any, place: Place, found: list[Place]) -> None:
        if len(place) >= _ENVIRONMENT.max_recursion_depth:
            raise RecursionError
        if type(value) is dict:
            if name in value:
                found.append((*place, name))
            for member, item in value.items():
                if type(item) is dict or type(item) is list:
                    look(item, (*place, member), found)
        elif type(value) is list:
            for index, item in enumerate(value):
                if type(item) is dict or type(item) is list:
                    look(item, (*place, index), found)

    def find(document: Any) -> list[Place]:
        found: list[Place] = []
        try:
            look(document, (), found)
        except RecursionError:  # as the library has it: nothing is found in what is nested too deep
            return []
        return found

    return find


def _parse(text: str) -> jsonpath.JSONPath:
    try:
        query = _ENVIRONMENT.compile(text)
    except jsonpath.JSONPathError as error:
        problem = str(error.args[0])  # without its drawing of the place
        raise ValueError(
            f"{text!r} is no JSONPath ({problem}); write one such as $.decision or $.items[0].id"
        ) from None
    if not isinstance(query, jsonpath.JSONPath):
        raise ValueError(f"{text!r} joins several paths; write one such as $.decision")  # noqa: TRY004  # bad text, not a bad type
    return query


def _lookup(parts: Place) -> Callable[[Any], Any]:
    def look(document: Any) -> Any:
        value = document
        for part in parts:
            if isinstance(part, str):
                if type(value) is not dict:
                    return MISSING
                value = value.get(part, MISSING)
            else:
                if type(value) is not list or part >= len(value):
                    return MISSING
                value = value[part]
        return value

    return look
