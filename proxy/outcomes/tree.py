"""What the rules of a comparison say of each place in a document.

Rules whose paths are members, indices and wildcards are a tree that is walked beside the two documents. Other paths
(filters, descendants) are looked up in the documents first and join that tree for one comparison.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from proxy.config.compare_schema import Fields, Tolerance
from proxy.outcomes.decision import Part, Place, locations, plain_parts
from proxy.outcomes.text import cleaner

Clean = Callable[[str], str]


class Rule(NamedTuple):
    path: str
    ignored: bool = False
    tolerance: Tolerance | None = None
    clean: Clean | None = None
    unordered: bool = False
    name: Callable[[Any], Any] | None = None


class Node:
    """What the rules say of one place, and of those below it. `each` is the wildcard's, `tolerance` None for none.
    `name` gives the label of a decision."""

    __slots__ = ("children", "clean", "each", "ignored", "name", "tolerance", "unordered")

    def __init__(self) -> None:
        self.children: dict[Part, Node] = {}
        self.each: Node | None = None
        self.ignored = False
        self.tolerance: Tolerance | None = None
        self.clean: Clean | None = None
        self.unordered = False
        self.name: Callable[[Any], Any] | None = None

    def at(self, parts: tuple[Part, ...]) -> "Node":
        """The node at `parts`, made where there is none."""
        node = self
        for part in parts:
            if part is None:
                node.each = node.each or Node()
                node = node.each
            else:
                node = node.children.setdefault(part, Node())
        return node

    def obey(self, rule: Rule) -> None:
        self.ignored = self.ignored or rule.ignored
        self.unordered = self.unordered or rule.unordered
        self.name = rule.name or self.name
        if rule.tolerance is not None:
            self.tolerance = Tolerance(*map(max, self.tolerance or Tolerance(), rule.tolerance))
        if rule.clean is not None:
            self.clean = _both(self.clean, rule.clean) if self.clean else rule.clean

    def copy(self) -> "Node":
        node = Node()
        node.children = {part: child.copy() for part, child in self.children.items()}
        node.each = self.each.copy() if self.each else None
        node.ignored, node.tolerance, node.clean = self.ignored, self.tolerance, self.clean
        node.unordered, node.name = self.unordered, self.name
        return node

    def tolerates(self) -> bool:
        """Whether anything at or below this place need not be exactly the same."""
        below = (*self.children.values(), *((self.each,) if self.each else ()))
        return self.tolerance is not None or any(node.tolerates() for node in below)


Nodes = tuple[Node, ...]
"""Usually none or one; several where a wildcard meets a name."""


def below(nodes: Nodes, key: Part) -> Nodes:
    return tuple(child for node in nodes for child in (node.children.get(key), node.each) if child is not None)


def down(nodes: Nodes, place: Iterable[Part]) -> Nodes:
    for part in place:
        nodes = below(nodes, part)
    return nodes


class Tree:
    """The rules of one rollout. Raises ValueError, with the path, where one is no JSONPath."""

    __slots__ = ("_given", "_searched", "root")

    def __init__(self, fields: Fields) -> None:
        self._given = tuple(_rules(fields))
        self.root = Node()
        self._searched: list[tuple[Callable[[Any], list[Place]], Rule]] = []
        for rule in self._given:
            self._add(rule)

    def _add(self, rule: Rule) -> None:
        parts = plain_parts(rule.path)
        if parts is None:
            self._searched.append((locations(rule.path), rule))
        else:
            self.root.at(parts).obey(rule)

    def at_decision(self, path: str, *, named: bool) -> Nodes:
        """The rules at and below a decision, which is compared even where it is ignored. One that is searched for has
        those of its own path, and so has each value where several are found. `named`: there must be one at the place.
        """
        parts = plain_parts(path)
        if parts is None or None in parts:
            node = Node()
            node.each = Node()
            for rule in self._given:
                if rule.path == path and not rule.ignored:
                    node.obey(rule)
                    node.each.obey(rule)
            return (node,)
        if named:
            self.root.at(parts)
        return tuple(_compared(node) for node in down((self.root,), parts))

    def put_name(self, path: str, name: Callable[[Any], Any], decision: Nodes) -> None:
        """Values at the path are compared by their names, in the documents and by the decision's own rules."""
        rule = Rule(path, name=name)
        self._add(rule)
        for node in decision:
            node.obey(rule)
            if node.each is not None:
                node.each.obey(rule)

    @property
    def searches(self) -> bool:
        return bool(self._searched)

    def of(self, *documents: Any) -> Node:
        """The root for these documents, compared with each other."""
        if not self._searched:
            return self.root
        root = self.root.copy()
        for find, rule in self._searched:
            for place in {place for document in documents for place in find(document)}:
                root.at(place).obey(rule)
        return root


def _compared(node: Node) -> Node:
    if node.ignored:
        node = node.copy()
        node.ignored = False
    return node


def _rules(fields: Fields) -> Iterator[Rule]:
    for path in fields.ignore:
        yield Rule(path, ignored=True)
    for path, tolerance in fields.tolerance.items():
        yield Rule(path, tolerance=tolerance)
    for path, steps in fields.normalize.items():
        yield Rule(path, clean=cleaner(steps))
    for path in fields.sets:
        yield Rule(path, unordered=True)


def _both(first: Clean, second: Clean) -> Clean:
    return lambda text: second(first(text))
