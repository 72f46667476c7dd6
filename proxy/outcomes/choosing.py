"""What of bodies is kept, by path: `record.drop`, `record.mask` and `record.hash`.

The rule: nothing at or below a place that a path names is kept, in the bodies, in what differs between them, or in what
is read from them. A dropped value is not there at all (an element of a list neither: those after it move up), a masked
one is `[redacted]`, and a hashed one is `hash:` and 32 hex digits that are the same wherever the value was the same on
the route. Where paths meet, dropping comes before masking, and that before hashing.

Paths can be applied only to JSON that is whole. With any of them, another body is not kept.

Types are strict, as where answers are compared: 1 and 1.0 are one number and have one hash, "1" has another.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any, Final

import orjson

from proxy.config.record_schema import Record
from proxy.outcomes.body import Body, Kind
from proxy.outcomes.compare import Difference
from proxy.outcomes.decision import MISSING, Part, Place, locations, plain_parts
from proxy.outcomes.redact import MASK

UNFIT: Final = "not whole JSON, so the paths of record cannot be applied to it"
DROPPED: Final = "dropped by record.drop"

_DIGEST: Final = 16
_EXACT: Final = 1 << 53


class _Do(IntEnum):
    """The smaller one goes before."""

    DROP = 1
    MASK = 2
    HASH = 3
    NOTHING = 4


class _Node:
    __slots__ = ("children", "do", "each")

    def __init__(self) -> None:
        self.children: dict[Part, _Node] = {}
        self.each: _Node | None = None
        self.do = _Do.NOTHING

    def obey(self, parts: Iterable[Part], do: _Do) -> None:
        node = self
        for part in parts:
            if part is None:
                node.each = node.each or _Node()
                node = node.each
            else:
                node = node.children.setdefault(part, _Node())
        node.do = min(node.do, do)

    def copy(self) -> "_Node":
        node = _Node()
        node.children = {part: child.copy() for part, child in self.children.items()}
        node.each, node.do = self.each.copy() if self.each else None, self.do
        return node


_Nodes = Sequence[_Node]
"""Several where a wildcard meets a name."""


class Chooser:
    """The rules of one rollout, compiled. Raises ValueError, with the setting's name, where a path is no JSONPath.
    `salt` keys the hashes."""

    __slots__ = ("_key", "_searched", "_tree", "nothing")

    def __init__(self, record: Record, salt: str) -> None:
        self._key = hashlib.blake2b(salt.encode(), digest_size=32, person=b"crossfade value").digest()
        self._tree = _Node()
        self._searched: list[tuple[Callable[[Any], list[Place]], _Do]] = []
        settings = (("drop", record.drop, _Do.DROP), ("mask", record.mask, _Do.MASK), ("hash", record.hash, _Do.HASH))
        for setting, paths, do in settings:
            for path in paths:
                try:
                    self._add(path, do)
                except ValueError as error:
                    raise ValueError(f"record.{setting}: {error}") from None
        self.nothing = not (record.drop or record.mask or record.hash)
        """All of each body is kept."""

    def _add(self, path: str, do: _Do) -> None:
        parts = plain_parts(path)
        if parts is None:
            self._searched.append((locations(path), do))
        else:
            self._tree.obey(parts, do)

    def body(self, content: Body) -> Body | dict[str, Any] | None:
        """What is left of a body, or why it is not kept."""
        if self.nothing or content.kind is Kind.NONE:
            return content
        if content.kind is not Kind.JSON:
            return {"omitted": UNFIT, "bytes": len(content.raw)}
        left = self._left(content.value, (self._of(content.value),))
        return {"omitted": DROPPED, "bytes": len(content.raw)} if left is MISSING else content._replace(value=left)

    def differences(self, found: Sequence[Difference], legacy: Any, agent: Any) -> tuple[Difference, ...]:
        """What is left of the differences of two documents (MISSING: none): at most as many. What was masked or hashed
        differs at its own place, and not below."""
        if self.nothing or not found:
            return tuple(found)
        root = self._of(*(document for document in (legacy, agent) if document is not MISSING))
        left: dict[tuple[Place, bool], Difference] = {}
        for each in found:
            chosen = self._difference(each, root, legacy, agent)
            if chosen is not None:
                left.setdefault((chosen.place, chosen.legacy is MISSING), chosen)
        return tuple(left.values())

    def covers(self, path: str) -> bool:
        """Whether what the path finds may be covered. A path with filters or descendants, on either side, may."""
        parts = plain_parts(path)
        if self.nothing:
            return False
        if parts is None or self._searched:
            return True
        nodes: _Nodes = (self._tree,)
        for part in parts:
            if _strongest(nodes) is not _Do.NOTHING:
                return True
            nodes = [node for each in nodes for node in _all_below(each)] if part is None else _below(nodes, part)
        return bool(nodes)

    def _of(self, *documents: Any) -> _Node:
        """The rules for these documents."""
        if not self._searched:
            return self._tree
        root = self._tree.copy()
        for find, do in self._searched:
            for document in documents:
                for place in find(document):
                    root.obey(place, do)
        return root

    def _left(self, value: Any, nodes: _Nodes) -> Any:
        """MISSING where nothing is. Depth is bounded by `body.MAX_DEPTH`."""
        match _strongest(nodes):
            case _Do.DROP:
                return MISSING
            case _Do.MASK:
                return MASK
            case _Do.HASH:
                return self._hash(value)
        if type(value) is dict:
            return dict(self._members(value.items(), nodes))
        if type(value) is list:
            return [item for _, item in self._members(enumerate(value), nodes)]
        return value

    def _members(self, members: Iterable[tuple[Any, Any]], nodes: _Nodes) -> Iterator[tuple[Any, Any]]:
        for part, item in members:
            below = _below(nodes, part)
            kept = self._left(item, below) if below else item
            if kept is not MISSING:
                yield part, kept

    def _difference(self, found: Difference, root: _Node, legacy: Any, agent: Any) -> Difference | None:
        nodes: _Nodes = (root,)
        for length in range(len(found.place) + 1):
            do = _strongest(nodes)
            if do is _Do.DROP:
                return None
            if do is not _Do.NOTHING:
                place = found.place[:length]
                whole = length == len(found.place)
                ours, theirs = (found.legacy, found.agent) if whole else (_value(legacy, place), _value(agent, place))
                return Difference(place, self._side(ours, nodes), self._side(theirs, nodes), found.loose and whole)
            if length < len(found.place):
                nodes = _below(nodes, found.place[length])
        return found._replace(legacy=self._side(found.legacy, nodes), agent=self._side(found.agent, nodes))

    def _side(self, value: Any, nodes: _Nodes) -> Any:
        return value if value is MISSING else self._left(value, nodes)

    def _hash(self, value: Any) -> str:
        data = orjson.dumps(_one_number(value), option=orjson.OPT_SORT_KEYS)
        return f"hash:{hashlib.blake2b(data, digest_size=_DIGEST, key=self._key).hexdigest()}"


def _below(nodes: _Nodes, part: Part) -> _Nodes:
    return [child for node in nodes for child in (node.children.get(part), node.each) if child is not None]


def _all_below(node: _Node) -> list[_Node]:
    return [*node.children.values(), *((node.each,) if node.each else ())]


def _strongest(nodes: _Nodes) -> _Do:
    return min((node.do for node in nodes), default=_Do.NOTHING)


def _value(document: Any, place: Place) -> Any:
    """What a document has at a place, MISSING where it has nothing."""
    for part in place:
        if isinstance(part, str):
            document = document.get(part, MISSING) if type(document) is dict else MISSING
        else:
            document = document[part] if type(document) is list and part < len(document) else MISSING
    return document


def _one_number(value: Any) -> Any:
    """With each number in one spelling: 1.0 as 1."""
    if type(value) is float and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if type(value) is dict:
        return {name: _one_number(item) for name, item in value.items()}
    if type(value) is list:
        return [_one_number(item) for item in value]
    return value
