"""How far the agent differs from itself: its answer to the same request, asked again, shows which differences of a pair
say nothing. That is the idea of Diffy (Twitter, 2015), which compares two instances of the old service.

Differences are counted by path, without indices. Paths are kept as long as evidence is, so a member whose name looks
like a value (an id, a mail address, a name of someone) is any member: `[*]`.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from proxy.outcomes.compare import Difference
from proxy.outcomes.decision import Place, path_text

MAX_PATH: Final = 120
"""Characters; a longer path is cut."""

_NAME: Final = re.compile(r"(?!(?:.*\d){4})[^\W\d][\w-]{0,39}")


class Field(NamedTuple):
    """Whether a pair, and whether the agent and its repeat, differ at a path: 0 or 1."""

    path: str
    pairs: int
    repeats: int


class Noise:
    """Where an agent's two answers differ."""

    __slots__ = ("_places",)

    def __init__(self, differences: Iterable[Difference]) -> None:
        self._places = frozenset(_spot(found) for found in differences)

    def covers(self, difference: Difference) -> bool:
        """The agent differs from itself there, or in something of which that is a part."""
        if not self._places:
            return False
        place = _spot(difference)
        return any(place[:length] in self._places for length in range(len(place) + 1))


def fields(pair: Sequence[Difference], repeat: Sequence[Difference]) -> tuple[Field, ...]:
    """Each path once."""
    if not repeat:
        return tuple(Field(path, 1, 0) for path in dict.fromkeys(general(found.place) for found in pair))
    ours, theirs = ({general(found.place): None for found in differences} for differences in (pair, repeat))
    return tuple(Field(path, int(path in ours), int(path in theirs)) for path in ours | theirs)


@lru_cache(maxsize=4096)
def general(place: Place) -> str:
    """The path for all elements of a list, and all members named by a value: `$.lines[*].price`."""
    text = "$"
    for part in place:
        if isinstance(part, int) or _NAME.fullmatch(part) is None:
            text += "[*]"
        else:
            text += path_text((part,))[1:]
    return text if len(text) <= MAX_PATH else f"{text[: MAX_PATH - 1]}…"


def _spot(difference: Difference) -> Place:
    """Elements of a list without order are not told apart by their index, so it is the list that differs."""
    return difference.place[:-1] if difference.loose else difference.place
