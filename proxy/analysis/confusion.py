"""Which decisions of legacy's the agent makes otherwise, and what that costs.

A class is all that legacy decided alike. Each class's agreement is judged with alpha divided by the number of classes
(Bonferroni), so that the bounds of all of them hold at once, however often they are looked at.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from proxy.analysis.agreement import lower_bound
from proxy.model.rollouts import OTHER

Decisions = Mapping[tuple[str, str], int]
"""Pairs by (legacy's decision, the agent's)."""
Costs = Mapping[tuple[str, str], float]
"""What a miss costs, as far as it is not 1."""

UNNAMED = 1.0
"""The cost of a miss that no cost was given for."""


class Cell(NamedTuple):
    """Pairs in which legacy decided one and the agent the other. `cost` is of all of them together, 0 where they
    agree."""

    legacy: str
    agent: str
    pairs: int
    cost: float


class Class(NamedTuple):
    """What the agent made of all that legacy decided alike: surely more than `lower_bound` (0 to 1) of it is so too."""

    decision: str
    agreed: int
    missed: int
    lower_bound: float
    cost: float


def cells(decisions: Decisions, costs: Costs) -> tuple[Cell, ...]:
    """Legacy's commonest decisions first, within each the agent's commonest answers to it; what stands for the rest
    comes last."""
    totals: dict[str, int] = {}
    for (legacy, _), pairs in decisions.items():
        totals[legacy] = totals.get(legacy, 0) + pairs
    found = [
        Cell(legacy, agent, pairs, _cost(legacy, agent, costs) * pairs)
        for (legacy, agent), pairs in decisions.items()
        if pairs > 0
    ]
    return tuple(
        sorted(
            found, key=lambda cell: (cell.legacy == OTHER, -totals[cell.legacy], cell.legacy, -cell.pairs, cell.agent)
        )
    )


def classes(found: tuple[Cell, ...], alpha: float) -> tuple[Class, ...]:
    """In the order of the cells."""
    groups: dict[str, list[Cell]] = {}
    for cell in found:
        groups.setdefault(cell.legacy, []).append(cell)
    return tuple(_classes(groups, alpha))


def _classes(groups: dict[str, list[Cell]], alpha: float) -> Iterator[Class]:
    for decision, group in groups.items():
        agreed = sum(cell.pairs for cell in group if cell.agent == decision)
        missed = sum(cell.pairs for cell in group) - agreed
        bound = lower_bound(agreed, missed, alpha / len(groups))
        yield Class(decision, agreed, missed, bound, sum(cell.cost for cell in group))


def _cost(legacy: str, agent: str, costs: Costs) -> float:
    return 0.0 if legacy == agent else costs.get((legacy, agent), UNNAMED)
