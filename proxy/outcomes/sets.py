"""Lists whose order says nothing: which of their elements have no counterpart.

Elements that are exactly alike are paired first, by a form of them that is the same for both. Where something is
tolerated, what is left is paired so that as many as possible have a counterpart (augmenting paths), since which of two
near ones is taken must not depend on the order. Rules of elements take `[*]`; those of an index say nothing here.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Final

import orjson

from proxy.outcomes.likeness import cleaned
from proxy.outcomes.tree import Nodes, below

MAX_TRIES: Final = 2048
"""Elements that are held against each other within a tolerance, for one pair of answers; what is left then differs. A
large one counts as many times as it has"""
_TRY: Final = 128
"""bytes: lists may stand in lists, and each try of the outer ones holds the inner ones against each other."""

Alike = Callable[[int, int], bool]
"""Whether legacy's element at one index is alike the agent's at another, within tolerance."""


class Tries:
    """Those that are left for one pair of answers."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_TRIES

    def take(self, element: Any) -> None:
        """For this one and another. Raises _SpentError where none is left."""
        if self.left <= 0:
            raise _SpentError
        self.left -= 1 + len(orjson.dumps(element)) // _TRY


class _SpentError(Exception):
    pass


def unmatched(
    legacy: list[Any], agent: list[Any], ours: Nodes, theirs: Nodes, alike: Alike | None, tries: Tries
) -> tuple[list[int], list[int]]:
    """The indices of legacy's elements, and of the agent's, that have no counterpart. `ours` and `theirs` are the rules
    of the two lists; `alike` is None where nothing is tolerated."""
    partners: dict[int, int] = {}  # by legacy's index
    owners: dict[int, int] = {}  # by the agent's
    waiting: dict[Hashable, list[int]] = {}
    wanted = _forms(agent, theirs)
    for index in reversed(wanted):
        waiting.setdefault(wanted[index], []).append(index)
    given = _forms(legacy, ours)
    for index, form in given.items():
        if same := waiting.get(form):
            partners[index] = same.pop()
            owners[partners[index]] = index
    lonely = [index for index in given if index not in partners]
    if alike is not None and lonely and len(owners) < len(wanted):
        with suppress(_SpentError):  # what has its counterpart by then keeps it
            _pair_within_tolerance(lonely, [*wanted], partners, owners, _bounded(alike, legacy, tries))
    return (
        [index for index in given if index not in partners],
        [index for index in wanted if index not in owners],
    )


def _forms(elements: list[Any], nodes: Nodes) -> dict[int, Hashable]:
    """The forms of the elements that are not ignored, by index."""
    found = {}
    for index, element in enumerate(elements):
        rules = below(nodes, index)
        if not any(node.ignored for node in rules):
            found[index] = form(element, rules)
    return found


def form(value: Any, nodes: Nodes) -> Hashable:
    """Something that is equal for values that are exactly alike under the rules, and for no others."""
    kind = type(value)
    if kind is dict:
        members = ((name, item, below(nodes, name) if nodes else nodes) for name, item in value.items())
        return "object", frozenset((name, form(item, rules)) for name, item, rules in members if not _ignored(rules))
    if kind is list:
        forms = _forms(value, nodes)
        if any(node.unordered for node in nodes):
            return "set", frozenset(Counter(forms.values()).items())
        return "list", tuple(forms.items())
    if kind is bool:
        return "boolean", value
    return cleaned(value, nodes) if kind is str and nodes else value


def _ignored(nodes: Nodes) -> bool:
    return any(node.ignored for node in nodes)


def _bounded(alike: Alike, legacy: list[Any], tries: Tries) -> Alike:
    """Each two elements are tried once."""
    known: dict[tuple[int, int], bool] = {}

    def asked(one: int, other: int) -> bool:
        found = known.get((one, other))
        if found is None:
            tries.take(legacy[one])
            found = known[one, other] = alike(one, other)
        return found

    return asked


def _pair_within_tolerance(
    lonely: list[int], candidates: list[int], partners: dict[int, int], owners: dict[int, int], alike: Alike
) -> None:
    """One augmenting path for each that is lonely: it takes the counterpart of one that can take another's."""
    for start in lonely:
        came: dict[int, int] = {}
        queue = [start]
        free = None
        for one in queue:
            for other in candidates:
                if other not in came and alike(one, other):
                    came[other] = one
                    if other not in owners:
                        free = other
                        break
                    queue.append(owners[other])
            if free is not None:
                break
        while free is not None:
            one = came[free]
            owners[free], following = one, partners.get(one)
            partners[one] = free
            free = following if one != start else None
