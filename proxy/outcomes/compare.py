"""Do two JSON documents say the same? A verdict from the decision, or from the whole, and where they differ.

Types are strict, except that 1 and 1.0 are the same number; true is not 1. `ignore` leaves members out of the
comparison, `tolerance` lets a number differ by a share of legacy's. A decision is compared even where it is ignored.

Rules whose paths are members, indices and wildcards are a tree that is walked beside the two documents. Other paths
(filters, descendants) are looked up in both documents first and join that tree for one comparison.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from proxy.model.words import Arm, Match
from proxy.outcomes.decision import MISSING, Part, Place, compile_path, locations, plain_parts
from proxy.outcomes.redact import MASK

MAX_DIFFERENCES: Final = 50


class Difference(NamedTuple):
    """`legacy` and `agent` are MISSING where that arm's document has nothing at `place`."""

    place: Place
    legacy: Any
    agent: Any


class Comparison(NamedTuple):
    """`legacy` and `agent` are the decisions, MISSING without one. At most MAX_DIFFERENCES are listed; `more` says how
    many are not. `reason` is a sentence where the documents are incomparable."""

    verdict: Match
    legacy: Any = MISSING
    agent: Any = MISSING
    differences: tuple[Difference, ...] = ()
    more: int = 0
    reason: str = ""


class Comparer:
    """The rules of one rollout, compiled. Raises ValueError, with the path, where one is no JSONPath."""

    __slots__ = ("_decide", "_decision_rules", "_searched", "_tree", "decision")

    def __init__(
        self, decision: str | None = None, ignore: tuple[str, ...] = (), tolerance: Mapping[str, float] | None = None
    ) -> None:
        tolerance = tolerance or {}
        rules = [_Rule(path, True, 0.0) for path in ignore] + [
            _Rule(path, False, tolerance[path]) for path in tolerance
        ]
        self._tree = _Node()
        self._searched = [(locations(rule.path), rule) for rule in rules if plain_parts(rule.path) is None]
        for rule in rules:
            parts = plain_parts(rule.path)
            if parts is not None:
                self._tree.at(parts).obey(rule)
        self.decision = decision
        self._decide = compile_path(decision) if decision is not None else None
        self._decision_rules = self._rules_of(decision, tolerance.get(decision, 0.0)) if decision is not None else ()

    def decide(self, document: Any) -> Any:
        """The decision in one arm's document, or MISSING."""
        return self._decide(document) if self._decide is not None else MISSING

    def judge(self, legacy: Any, agent: Any) -> Match:
        """Two decisions by themselves, as `decide` gives them or as a human made one later. Incomparable where one is
        MISSING, or was masked before it came here."""
        if legacy is MISSING or agent is MISSING or legacy == MASK or agent == MASK:
            return Match.INCOMPARABLE
        decisive = _Found()
        _walk(legacy, agent, self._decision_rules, (), decisive)
        return Match.MISMATCHED if decisive.listed else Match.MATCHED

    def compare(self, legacy: Any, agent: Any, *, same: bool = False) -> Comparison:
        """Two decoded documents side by side. `same` says that their bytes are equal, so that nothing can differ."""
        ours, theirs = self.decide(legacy), self.decide(agent)
        if self._decide is not None and (ours is MISSING or theirs is MISSING):
            arm = "both arms'" if ours is theirs else f"{Arm.LEGACY if ours is MISSING else Arm.AGENT}'s"
            reason = f"{arm} answer has nothing at {self.decision}"
            return Comparison(Match.INCOMPARABLE, ours, theirs, reason=reason)
        if same:
            return Comparison(Match.MATCHED, ours, theirs)
        found = _Found()
        _walk(legacy, agent, (self._resolved(legacy, agent),), (), found)
        differs = bool(found.listed)
        if self._decide is not None:
            decisive = _Found()
            _walk(ours, theirs, self._decision_rules, (), decisive)
            differs = bool(decisive.listed)
        verdict = Match.MISMATCHED if differs else Match.MATCHED
        return Comparison(verdict, ours, theirs, tuple(found.listed), found.more)

    def _resolved(self, legacy: Any, agent: Any) -> "_Node":
        """The tree of rules for these two documents."""
        if not self._searched:
            return self._tree
        tree = self._tree.copy()
        for find, rule in self._searched:
            for place in {*find(legacy), *find(agent)}:
                tree.at(place).obey(rule)
        return tree

    def _rules_of(self, decision: str, tolerance: float) -> "_Nodes":
        """The rules at and below the decision. One that is searched for has those of its own path, for each value."""
        parts = plain_parts(decision)
        if parts is None or None in parts:
            node = _Node()
            node.tolerance, node.each = tolerance, node
            return (node,)
        nodes: _Nodes = (self._tree,)
        for part in parts:
            nodes = _below(nodes, part)
        return tuple(node for node in nodes if not node.ignored)


class _Rule(NamedTuple):
    path: str
    ignored: bool
    tolerance: float


class _Node:
    """What the rules say of one place, and of those below it. `each` is the wildcard's."""

    __slots__ = ("children", "each", "ignored", "tolerance")

    def __init__(self) -> None:
        self.children: dict[Part, _Node] = {}
        self.each: _Node | None = None
        self.ignored = False
        self.tolerance = 0.0

    def at(self, parts: tuple[Part, ...]) -> "_Node":
        """The node at `parts`, made where there is none."""
        node = self
        for part in parts:
            if part is None:
                node.each = node.each or _Node()
                node = node.each
            else:
                node = node.children.setdefault(part, _Node())
        return node

    def obey(self, rule: _Rule) -> None:
        self.ignored = self.ignored or rule.ignored
        self.tolerance = max(self.tolerance, rule.tolerance)

    def copy(self) -> "_Node":
        node = _Node()
        node.children = {part: child.copy() for part, child in self.children.items()}
        node.each = self.each.copy() if self.each else None
        node.ignored, node.tolerance = self.ignored, self.tolerance
        return node


_Nodes = tuple[_Node, ...]
"""Usually none or one; several where a wildcard meets a name."""


class _Found:
    """Differences up to the bound, and the number of those beyond it."""

    __slots__ = ("listed", "more")

    def __init__(self) -> None:
        self.listed: list[Difference] = []
        self.more = 0

    def add(self, difference: Difference) -> None:
        if len(self.listed) < MAX_DIFFERENCES:
            self.listed.append(difference)
        else:
            self.more += 1


def _walk(legacy: Any, agent: Any, nodes: _Nodes, place: Place, found: _Found) -> None:
    """Compare two values at `place`. Their depth is bounded by `body.MAX_DEPTH`."""
    for node in nodes:
        if node.ignored:
            return
    if type(legacy) is type(agent) and type(legacy) in _CONTAINERS:
        for key, ours, theirs in _members(legacy, agent) if type(legacy) is dict else _items(legacy, agent):
            if type(ours) is type(theirs) and type(ours) not in _CONTAINERS and ours == theirs:
                continue  # by far the most, and worth no call
            _walk(ours, theirs, _below(nodes, key) if nodes else nodes, (*place, key), found)
    elif not _equal(legacy, agent, nodes):
        found.add(Difference(place, legacy, agent))


_CONTAINERS: Final = frozenset({dict, list})


def _members(legacy: dict[str, Any], agent: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key, value in legacy.items():
        yield key, value, agent.get(key, MISSING)
    for key, value in agent.items():
        if key not in legacy:
            yield key, MISSING, value


def _items(legacy: list[Any], agent: list[Any]) -> Iterator[tuple[int, Any, Any]]:
    for index in range(max(len(legacy), len(agent))):
        yield (
            index,
            legacy[index] if index < len(legacy) else MISSING,
            agent[index] if index < len(agent) else MISSING,
        )


def _below(nodes: _Nodes, key: Part) -> _Nodes:
    return tuple(child for node in nodes for child in (node.children.get(key), node.each) if child is not None)


def _equal(legacy: Any, agent: Any, nodes: _Nodes) -> bool:
    """Two values that are not both objects or both arrays."""
    if type(legacy) is type(agent) and legacy == agent:
        return True
    if type(legacy) not in _NUMBERS or type(agent) not in _NUMBERS:
        return False
    if legacy == agent:
        return True
    share = max([node.tolerance for node in nodes], default=0.0)
    return bool(abs(agent - legacy) <= share * abs(legacy))


_NUMBERS: Final = frozenset({int, float})
