"""Agreement within each kind of request, so that a good average cannot hide a kind that goes wrong.

Each segment is judged as the whole is (`agreement`), with alpha divided by the number of segments (Bonferroni): the
chance that any of them is judged wrongly stays alpha.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from proxy.analysis import agreement
from proxy.model.rollouts import OTHER
from proxy.model.words import Verdict

_ORDER: Final = (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED)


class Segment(NamedTuple):
    """`ok` pairs agree and `bad` do not; surely more than `lower_bound` (0 to 1) of this kind agree."""

    name: str
    ok: int
    bad: int
    lower_bound: float
    verdict: Verdict


def judge(
    counts: Mapping[str, tuple[int, int]],
    floor: float,
    alpha: float,
    fail_alpha: float,
    *,
    min_samples: int = 50,
    min_share: float = 0.01,
) -> tuple[Segment, ...]:
    """The segments of `counts`, which are (matched, mismatched) by name; failed first, then inconclusive, then by name.

    Those with less than `min_share` of all pairs are judged together, as `OTHER`. One with fewer than `min_samples`
    pairs is inconclusive.
    """
    kept = _joined(counts, min_share)
    return tuple(
        sorted(
            (
                _segment(name, ok, bad, floor, alpha / len(kept), fail_alpha / len(kept), min_samples)
                for name, (ok, bad) in kept.items()
            ),
            key=lambda segment: (_ORDER.index(segment.verdict), segment.name),
        )
    )


def verdict(segments: tuple[Segment, ...]) -> Verdict:
    """Of all of them together: failed where one is, passed where all are; without any, inconclusive."""
    return segments[0].verdict if segments else Verdict.INCONCLUSIVE


def _joined(counts: Mapping[str, tuple[int, int]], min_share: float) -> dict[str, tuple[int, int]]:
    seen = {name: (ok, bad) for name, (ok, bad) in counts.items() if ok + bad}
    least = min_share * sum(ok + bad for ok, bad in seen.values())
    kept = {name: (ok, bad) for name, (ok, bad) in seen.items() if name != OTHER and ok + bad >= least}
    if rest := [count for name, count in seen.items() if name not in kept]:
        kept[OTHER] = sum(ok for ok, _ in rest), sum(bad for _, bad in rest)
    return kept


def _segment(name: str, ok: int, bad: int, floor: float, alpha: float, fail_alpha: float, min_samples: int) -> Segment:
    enough = ok + bad >= min_samples
    found = agreement.verdict(ok, bad, floor, alpha, fail_alpha) if enough else Verdict.INCONCLUSIVE
    return Segment(name, ok, bad, agreement.lower_bound(ok, bad, alpha), found)
