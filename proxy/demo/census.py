"""Who was served by whom: what the users' answers say about the split.

A user is *inside* when the agent answers, or when it was asked and handed the request over. The rules held here: the
share of users inside is the weight, a user is never both inside and outside during one stage, and a user inside stays
inside at every later stage.
"""

from collections.abc import Iterable
from math import sqrt
from typing import NamedTuple


class Answer(NamedTuple):
    """One good answer. `started` is in Unix seconds, `duration` in seconds; `handed_over` is empty or the reason."""

    started: float
    duration: float
    user: str
    arm: str
    handed_over: str = ""

    @property
    def inside(self) -> bool:
        return self.arm == "agent" or bool(self.handed_over)


class Census(NamedTuple):
    """The users of one stage: all who asked, who of them was inside, who was both."""

    asked: frozenset[str]
    inside: frozenset[str]
    torn: frozenset[str]

    @property
    def share(self) -> float:
        return len(self.inside) / len(self.asked) if self.asked else 0.0


def take(answers: Iterable[Answer], start: float, end: float) -> Census:
    """The census of the requests that started from `start` to `end` (Unix seconds)."""
    inside: set[str] = set()
    outside: set[str] = set()
    for answer in answers:
        if start <= answer.started < end:
            (inside if answer.inside else outside).add(answer.user)
    return Census(frozenset(inside | outside), frozenset(inside), frozenset(inside & outside))


def is_fair(census: Census, weight: float) -> bool:
    """Whether the share inside is what `weight` percent gives by chance: within 4 standard deviations of it."""
    expected = weight / 100
    tolerance = 4 * sqrt(expected * (1 - expected) / max(1, len(census.asked)))
    return abs(census.share - expected) <= tolerance


def lost(before: Census, after: Census) -> frozenset[str]:
    """Users who were inside before, asked again, and were not inside."""
    return (before.inside & after.asked) - after.inside
