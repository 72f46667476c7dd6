"""Is a difference between the arms more than the agent's own noise?

The rule is Diffy's (Twitter, 2015; `DifferencesFilterFactory`, with its default thresholds): a field differs in earnest
where it differs more often between the arms than between an agent's two answers, by more than 20 % of both taken
together and by more than 0.03 % of the requests. Diffy asks everything twice; here a sample is, so rates stand for its
counts, and nothing is called noise on fewer than MIN_REPEATS: a few repeats may differ, or not, by chance.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

RELATIVE: Final = 0.20
ABSOLUTE: Final = 0.0003
MIN_REPEATS: Final = 100


class FieldNoise(NamedTuple):
    """Of `path`: pairs and repeats that differ there, and their shares of all; None of none. `noisy` is None where too
    little was repeated to tell."""

    path: str
    pairs: int
    repeats: int
    raw_rate: float | None
    noise_rate: float | None
    noisy: bool | None


def fields(counts: Mapping[str, tuple[int, int]], pairs: int, repeats: int) -> tuple[FieldNoise, ...]:
    """Of `counts`, which are (pairs, repeats) by path, out of `pairs` and `repeats`; those that differ most first."""
    found = (
        FieldNoise(
            path,
            differing,
            again,
            raw := (differing / pairs if pairs else None),
            noise := (again / repeats if repeats else None),
            None if raw is None or noise is None or repeats < MIN_REPEATS else _noisy(raw, noise),
        )
        for path, (differing, again) in counts.items()
    )
    return tuple(sorted(found, key=lambda field: (-field.pairs, -field.repeats, field.path)))


def _noisy(raw: float, noise: float) -> bool:
    """False where nothing but chance, or little, stands behind it: no noise, no need to look past it."""
    if noise == 0:
        return False
    return not (raw > noise and (raw - noise) / (raw + noise) > RELATIVE and raw - noise > ABSOLUTE)
