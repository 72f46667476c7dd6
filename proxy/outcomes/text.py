"""Texts without what is not to be told apart in them.

Cleaning is idempotent: its steps are repeated until nothing changes, since one may bring up what another removes (a
folded capital that is not in NFKC, a space that NFKC leaves).
"""

import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from proxy.config.compare_schema import Step

_ROUNDS: Final = 8
"""Far more than any text needs (two or three)."""

_STEPS: Final[dict[Step, Callable[[str], str]]] = {
    "unicode": lambda text: unicodedata.normalize("NFKC", text),
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
