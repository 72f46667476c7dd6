"""Do two answers say the same? A verdict from the decision, or from the whole bodies, and where the bodies differ.

`fields.ignore` leaves members out of the comparison; a decision is compared even where it is ignored. A decision that
is not in the body (a header, the status) needs no body: bodies are then compared where both are JSON. Decisions are
named (`labels`) before they are compared, here and at their place in the body.
"""

from collections.abc import Callable
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import orjson

from proxy.config.compare_schema import Compare, HeaderDecision, StatusDecision
from proxy.model.words import Arm, Match
from proxy.outcomes.decision import MISSING, Place, compile_path
from proxy.outcomes.labels import Naming
from proxy.outcomes.likeness import alike as values_alike
from proxy.outcomes.likeness import cleaned
from proxy.outcomes.redact import MASK
from proxy.outcomes.sets import Tries, unmatched
from proxy.outcomes.tree import Node, Nodes, Tree, below, down

MAX_DIFFERENCES: Final = 50


class Answer(NamedTuple):
    """What of an arm's answer is compared: its decoded JSON body, MISSING where it has none; `headers` by name."""

    document: Any = MISSING
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()


class Difference(NamedTuple):
    """`legacy` and `agent` are MISSING where that arm's document has nothing at `place`. `loose`: `place` is an element
    of a list whose order says nothing, which has no counterpart in the other arm's."""

    place: Place
    legacy: Any
    agent: Any
    loose: bool = False


class Comparison(NamedTuple):
    """`legacy` and `agent` are the decisions, MISSING without one. At most MAX_DIFFERENCES are listed; `more` says how
    many are not. `reason` is a sentence where the answers are incomparable."""

    verdict: Match
    legacy: Any = MISSING
    agent: Any = MISSING
    differences: tuple[Difference, ...] = ()
    more: int = 0
    reason: str = ""


class Comparer:
    """The rules of one rollout, compiled. Raises ValueError, with the setting's name, where they cannot be used."""

    __slots__ = ("_decide", "_decision_nodes", "_names", "_nothing", "_tree", "in_body", "name")

    def __init__(self, compare: Compare) -> None:
        self._tree = Tree(compare.fields)
        path = compare.decision if isinstance(compare.decision, str) and compare.decision != "status" else None
        self.in_body = path is not None or compare.decision is None
        """Without a JSON body there is nothing to judge by."""
        self._decision_nodes = self._tree.at_decision(path, named=bool(compare.labels)) if path is not None else ()
        self.name = Naming(compare.labels, lambda text: cleaned(text, self._decision_nodes))
        """What a decision is called."""
        self._names = bool(compare.labels) or any(node.clean for node in self._decision_nodes)
        if compare.labels and path is not None:
            self._tree.put_name(path, self.name, self._decision_nodes)
        self._decide, self._nothing = _reader(compare.decision)

    def decide(self, answer: Answer) -> Any:
        """The decision in one arm's answer, by its label where it has one; MISSING without one."""
        if self._decide is None:
            return MISSING
        found = self._decide(answer)
        return self.name(found) if self._names else found

    def judge(self, legacy: Any, agent: Any) -> Match:
        """Two decisions by themselves, as `decide` gives them or as a human made one later. Incomparable where one is
        MISSING, or was masked before it came here."""
        legacy, agent = self.name(legacy), self.name(agent)
        if legacy is MISSING or agent is MISSING or MASK in (legacy, agent):
            return Match.INCOMPARABLE
        return Match.MATCHED if self._agree(legacy, agent) else Match.MISMATCHED

    def compare(self, legacy: Answer, agent: Answer, *, same: bool = False) -> Comparison:
        """Two answers side by side. `same` says that the bytes of their bodies are equal: nothing in them differs."""
        ours, theirs = self.decide(legacy), self.decide(agent)
        decides = self._decide is not None
        if decides and (ours is MISSING or theirs is MISSING):
            arm = "both arms'" if ours is theirs else f"{Arm.LEGACY if ours is MISSING else Arm.AGENT}'s"
            return Comparison(Match.INCOMPARABLE, ours, theirs, reason=f"{arm} answer has {self._nothing}")
        found = _Found()
        if not same and legacy.document is not MISSING and agent.document is not MISSING:
            self._look(legacy.document, agent.document, found)
        alike = (same and self.in_body) or (self._agree(ours, theirs) if decides else not found.listed)
        verdict = Match.MATCHED if alike else Match.MISMATCHED
        return Comparison(verdict, ours, theirs, tuple(found.listed), found.more)

    def _agree(self, ours: Any, theirs: Any) -> bool:
        if type(ours) is type(theirs) and type(ours) not in _CONTAINERS and ours == theirs:
            return True
        decisive = _Found()
        _walk(ours, theirs, self._decision_nodes, (), decisive)
        return not decisive.listed

    def _look(self, legacy: Any, agent: Any, found: "_Found") -> None:
        if self._tree.searches:
            found.roots = self._tree.of(legacy), self._tree.of(agent)
        _walk(legacy, agent, (self._tree.of(legacy, agent),), (), found)


def _reader(decision: Any) -> tuple[Callable[[Answer], Any] | None, str]:
    """How the decision is read, and in words what an answer has that has none."""
    match decision:
        case None:
            return None, ""
        case "status":
            return lambda answer: answer.status or MISSING, "no status"
        case HeaderDecision(header=header):
            return _header(header.lower()), f"no header {header}"
        case StatusDecision(status=statuses):
            meaning = {code: name for name, codes in statuses.items() for code in codes}
            return lambda answer: meaning.get(answer.status, MISSING), "a status that decides nothing"
        case _:
            find = compile_path(decision)
            return lambda answer: find(answer.document), f"nothing at {decision}"


def _header(name: str) -> Callable[[Answer], Any]:
    def read(answer: Answer) -> Any:
        values = [value.strip() for header, value in answer.headers if header == name]
        return ", ".join(values) if values else MISSING

    return read


class _Found:
    """Differences up to the bound, and the number of those beyond it. `roots` are the rules that hold in each document
    by itself, where rules are searched for; `tries` are shared by all that is held against each other."""

    __slots__ = ("listed", "more", "roots", "tries")

    def __init__(self, tries: Tries | None = None) -> None:
        self.tries = tries or Tries()
        self.listed: list[Difference] = []
        self.more = 0
        self.roots: tuple[Node, Node] | None = None

    def add(self, difference: Difference) -> None:
        if len(self.listed) < MAX_DIFFERENCES:
            self.listed.append(difference)
        else:
            self.more += 1


def _walk(legacy: Any, agent: Any, nodes: Nodes, place: Place, found: _Found) -> None:
    """Compare two values at `place`. Their depth is bounded by `body.MAX_DEPTH`."""
    for node in nodes:
        if node.ignored:
            return
    if type(legacy) is type(agent) and type(legacy) in _CONTAINERS:
        # Python takes 1 for True, so only equal bytes are equal; most that is equal is so, at a fifth of a walk's cost.
        if legacy == agent and orjson.dumps(legacy) == orjson.dumps(agent):
            return
        if type(legacy) is dict:
            _walk_object(legacy, agent, nodes, place, found)
        elif any(node.unordered for node in nodes):
            _walk_set(legacy, agent, nodes, place, found)
        else:
            _walk_list(legacy, agent, nodes, place, found)
    elif not values_alike(legacy, agent, nodes):
        found.add(Difference(place, legacy, agent))


_CONTAINERS: Final = frozenset({dict, list})


def _walk_object(legacy: dict[str, Any], agent: dict[str, Any], nodes: Nodes, place: Place, found: _Found) -> None:
    """Equal single values are by far the most, here and in lists, and worth no call."""
    for key, ours in legacy.items():
        theirs = agent.get(key, MISSING)
        if type(ours) is not type(theirs) or type(ours) in _CONTAINERS or ours != theirs:
            _walk(ours, theirs, below(nodes, key) if nodes else nodes, (*place, key), found)
    if not agent.keys() <= legacy.keys():
        for key, theirs in agent.items():
            if key not in legacy:
                _walk(MISSING, theirs, below(nodes, key), (*place, key), found)


def _walk_list(legacy: list[Any], agent: list[Any], nodes: Nodes, place: Place, found: _Found) -> None:
    for index, (ours, theirs) in enumerate(zip_longest(legacy, agent, fillvalue=MISSING)):
        if type(ours) is not type(theirs) or type(ours) in _CONTAINERS or ours != theirs:
            _walk(ours, theirs, below(nodes, index) if nodes else nodes, (*place, index), found)


def _walk_set(legacy: list[Any], agent: list[Any], nodes: Nodes, place: Place, found: _Found) -> None:
    """Elements without a counterpart are differences, each at its index in the list that has it."""
    ours = theirs = nodes
    if found.roots is not None:
        ours, theirs = (down((root,), place) for root in found.roots)

    def near(one: int, other: int) -> bool:
        tried = _Found(found.tries)
        _walk(legacy[one], agent[other], (*below(ours, one), *below(theirs, other)), (), tried)
        return not tried.listed

    tolerant = any(node.tolerates() for node in nodes)
    left, right = unmatched(legacy, agent, ours, theirs, near if tolerant else None, found.tries)
    for index in left:
        found.add(Difference((*place, index), legacy[index], MISSING, loose=True))
    for index in right:
        found.add(Difference((*place, index), MISSING, agent[index], loose=True))
