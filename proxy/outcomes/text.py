"""Texts without what is not to be told apart in them.

Cleaning is idempotent: its steps are repeated until nothing changes, since one may bring up what another removes (a
folded capital that is not in NFKC, a space that NFKC leaves).

Marks that are stacked without end are left as they are: to put them in order takes the square of their number.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from proxy.config.compare_schema import Step

_ROUNDS: Final = 8
"""Far more than any text needs (two or three)."""

MAX_STACKED: Final = 128
"""Marks on one character; a text of any language needs a few (UAX 15, section 13: 30)."""

_FOREIGN: Final = re.compile(rf"[^\x00-\x7f]{{{MAX_STACKED + 1},}}")
"""Where there may be more."""


def _unicode(text: str) -> str:
    if any(_stacked(found[0]) for found in _FOREIGN.finditer(text)):
        return text
    return unicodedata.normalize("NFKC", text)


def _stacked(text: str) -> bool:
    marks = 0
    for character in text:
        marks = marks + 1 if _is_mark(character) else 0
        if marks > MAX_STACKED:
            return True
    return False


@lru_cache(maxsize=4096)
def _is_mark(character: str) -> bool:
    """By what it is decomposed into: some that are no marks themselves are made of nothing else."""
    return all(map(unicodedata.combining, unicodedata.normalize("NFKD", character)))


_STEPS: Final[dict[Step, Callable[[str], str]]] = {
    "unicode": _unicode,
    "case": str.casefold,
    "space": lambda text: " ".join(text.split()),
}


@lru_cache(maxsize=64)
def cleaner(steps: Iterable[Step]) -> Callable[[str], str]:
    """A function for `steps`, whose order makes no difference."""
    chosen = [step for name, step in _STEPS.items() if name in frozenset(steps)]

    def clean(text: str) -> str:
        for _ in range(_ROUNDS):
            before = text
            for step in chosen:
                text = step(text)
            if text == before:
                break
        return text

    return clean
