"""YAML text to a tree that remembers the line of every key and value.

The tree is built from ruamel.yaml's events, not its objects, because four things are decided here: scalars are YAML
1.2 core (`off`, `on`, `yes` and `no` are text), keys are always text, a key that appears twice is refused, and the tree
is bounded in size and depth however often it uses its anchors. `<<` merges a mapping or a list of them; keys beside it
win.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from proxy.model.errors import ConfigError

MAX_TEXT: Final = 1 << 20
"""Characters of one file."""
MAX_DEPTH: Final = 32
MAX_NODES: Final = 50_000
"""Nodes of the tree, with each use of an anchor counted as what it stands for."""

Path = tuple[str | int, ...]
"""Keys and indices from the root, as in `("routes", 0, "name")`."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """`text` is what counts, `written` what stands in the file: they differ once references are filled in."""

    line: int
    text: str
    quoted: bool
    written: str
    size: int = 1


@dataclass(frozen=True, slots=True)
class Sequence:
    line: int
    items: "tuple[Node, ...]"
    size: int


class Entry(NamedTuple):
    """One key's line, and its value."""

    line: int
    value: "Node"


@dataclass(frozen=True, slots=True)
class Mapping:
    line: int
    entries: dict[str, Entry]
    size: int


Node = Scalar | Sequence | Mapping


def parse(text: str, file: str) -> Mapping:
    """The tree of a file's one document. Raises ConfigError with file and line."""
    if len(text) > MAX_TEXT:
        raise ConfigError(f"is longer than {MAX_TEXT} characters, the most a configuration may have", file=file)
    try:
        root = _Builder(text, file).document()
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError("holds a character that YAML does not allow", file=file, line=line) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        if mark is not None and text[mark.index - 1 : mark.index + 1] == "${":
            problem = "within [ ] and { } a reference such as ${VAR} must stand in quotes"
        raise ConfigError(f"is no YAML: {problem}", file=file, line=mark.line + 1 if mark else 0) from error
    except YAMLError as error:
        raise ConfigError(f"is no YAML: {str(error).splitlines()[0]}", file=file) from error
    if not isinstance(root, Mapping):
        raise ConfigError("must be a mapping of keys, such as `routes:`", file=file, line=root.line)
    return root


def plain(node: Node) -> Any:
    """The tree as dicts, lists, text, numbers, booleans and None."""
    match node:
        case Mapping():
            return {key: plain(entry.value) for key, entry in node.entries.items()}
        case Sequence():
            return [plain(item) for item in node.items]
        case _:
            return scalar(node)


def find(root: Node, path: Path) -> Node | None:
    """The node at `path`, or None where nothing stands there."""
    node: Node | None = root
    for step in path:
        match node:
            case Mapping() if step in node.entries:
                node = node.entries[str(step)].value
            case Sequence() if isinstance(step, int) and 0 <= step < len(node.items):
                node = node.items[step]
            case _:
                return None
    return node


def line_of(root: Node, path: Path) -> int:
    """The line of the key or list item that `path` names; of its nearest ancestor where it is not in the file."""
    node, line = root, root.line
    for step in path:
        match node:
            case Mapping() if step in node.entries:
                line, node = node.entries[str(step)]
            case Sequence() if isinstance(step, int) and 0 <= step < len(node.items):
                node = node.items[step]
                line = node.line
            case _:
                break
    return line


def format_path(path: Path) -> str:
    """As in `routes[0].match.headers["x-tenant"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", step):
            text += f".{step}" if text else step
        else:
            text += f'["{step}"]'
    return text


_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_BASED: Final = re.compile(r"0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]{1,18}|[0-9]{1,18}(\.[0-9]{0,18})?)([eE][-+]?[0-9]{1,3})?")
_SPECIAL: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def scalar(node: Scalar) -> str | int | float | bool | None:
    """A scalar's value by YAML 1.2.2, section 10.3.2 (core schema).

    Quoted scalars are text, and so are those that held a reference: what `${VAR}` stands for is never guessed at.
    Numbers of more than 18 digits are text too.
    """
    text = node.text
    if node.quoted or text != node.written:
        return text
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return text


class _Builder:
    """Builds the tree of one document from its events."""

    def __init__(self, text: str, file: str) -> None:
        self._events: Iterator[Any] = YAML(typ="safe", pure=True).parse(text)
        self._file = file
        self._anchors: dict[str, Node] = {}
        self._room = MAX_NODES

    def document(self) -> Node:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, DocumentStartEvent) and root is not None:
                raise self._refused("starts a second document; one file holds one", event)
            if isinstance(event, NodeEvent):
                root = self._node(event, 1)
        if root is None:
            raise ConfigError("is empty", file=self._file)
        return root

    def _node(self, event: NodeEvent, depth: int) -> Node:
        if isinstance(event, AliasEvent):
            if event.anchor not in self._anchors:
                raise self._refused(f"*{event.anchor} names no anchor above it", event)
            node = self._anchors[event.anchor]
            self._take(node.size, event)
            return node
        if depth > MAX_DEPTH:
            raise self._refused(f"is nested more than {MAX_DEPTH} levels deep", event)
        if (tag := getattr(event, "tag", None)) is not None:
            raise self._refused(f"has the tag {tag}; tags are not used here, leave it out", event)
        self._take(1, event)
        match event:
            case ScalarEvent():
                node = Scalar(_line(event), event.value, event.style is not None, event.value)
            case SequenceStartEvent():
                node = self._sequence(event, depth)
            case _:
                node = self._mapping(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _sequence(self, start: Event, depth: int) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return Sequence(_line(start), tuple(items), 1 + sum(item.size for item in items))

    def _mapping(self, start: Event, depth: int) -> Mapping:
        entries: dict[str, Entry] = {}
        merged: Node | None = None
        while not isinstance(event := next(self._events), MappingEndEvent):
            key, line = self._key(event), _line(event)
            if key in entries or (key == "<<" and merged is not None):
                first = f" (first on line {entries[key].line})" if key in entries else ""
                raise self._refused(f"the key {key!r} appears twice{first}; keep one", event)
            value = self._node(next(self._events), depth + 1)
            if key == "<<":
                self._take(value.size, event)
                merged = value
            else:
                entries[key] = Entry(line, value)
        if merged is not None:
            entries = self._merge(merged, start) | entries
        return Mapping(_line(start), entries, 1 + sum(1 + entry.value.size for entry in entries.values()))

    def _take(self, size: int, event: Event) -> None:
        """Room for so many nodes."""
        self._room -= size
        if self._room < 0:
            raise self._refused(f"makes more than {MAX_NODES} values, counting each use of an anchor", event)

    def _key(self, event: Event) -> str:
        if not isinstance(event, ScalarEvent):
            raise self._refused("a key must be text", event)
        return str(event.value)

    def _merge(self, merged: Node, start: Event) -> dict[str, Entry]:
        sources = merged.items if isinstance(merged, Sequence) else (merged,)
        entries: dict[str, Entry] = {}
        for source in reversed(sources):  # the first one named wins
            if not isinstance(source, Mapping):
                raise self._refused("<< must name a mapping, or a list of them", start)
            entries |= source.entries
        return entries

    def _refused(self, problem: str, event: Event) -> ConfigError:
        return ConfigError(problem, file=self._file, line=_line(event))


def _line(event: Event) -> int:
    return int(event.start_mark.line) + 1
