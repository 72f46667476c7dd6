"""Which arm, and why: one table of cases."""

from itertools import pairwise

import pytest

from proxy.model.snapshot import BUCKETS
from proxy.model.words import Arm, Mode, Reason
from proxy.routing.decide import decide, sampled


@pytest.mark.parametrize(
    ("weight", "bucket", "tripped", "expected"),
    [
        (0, 0, False, (Arm.LEGACY, Mode.LEGACY, Reason.BUCKET_OUT)),
        (5_000, 4_999, False, (Arm.AGENT, Mode.CANARY, Reason.BUCKET_IN)),
        (5_000, 5_000, False, (Arm.LEGACY, Mode.LEGACY, Reason.BUCKET_OUT)),
        (BUCKETS, BUCKETS - 1, False, (Arm.AGENT, Mode.CANARY, Reason.BUCKET_IN)),
        (BUCKETS, None, False, (Arm.LEGACY, Mode.LEGACY, Reason.NO_KEY)),
        (5_000, 4_999, True, (Arm.LEGACY, Mode.LEGACY, Reason.BREAKER)),
        (5_000, 5_000, True, (Arm.LEGACY, Mode.LEGACY, Reason.BUCKET_OUT)),
        (BUCKETS, None, True, (Arm.LEGACY, Mode.LEGACY, Reason.NO_KEY)),
    ],
)
def test_cases(weight: int, bucket: int | None, tripped: bool, expected: tuple[Arm, Mode, Reason]) -> None:
    assert decide(weight, bucket, tripped=tripped) == expected


@pytest.mark.parametrize("share", [0, 1, 250, 33_333, 99_999, BUCKETS])
def test_a_sample_of_all_buckets_is_exact(share: int) -> None:
    assert sum(sampled(count, share) for count in range(7, 7 + BUCKETS)) == share


def test_a_small_sample_is_spread_out() -> None:
    hits = [count for count in range(10_000) if sampled(count, 1_000)]
    gaps = [later - earlier for earlier, later in pairwise(hits)]
    assert max(gaps) <= 200


def test_what_is_in_a_smaller_sample_is_in_a_larger_one() -> None:
    assert all(sampled(count, 30_000) for count in range(1000) if sampled(count, 10_000))
