"""Which arm serves a request, in which mode, and why; and whether the other arm gets a copy."""

from typing import Final, NamedTuple

from proxy.model.snapshot import BUCKETS
from proxy.model.words import Arm, Mode, Reason


class Decision(NamedTuple):
    arm: Arm
    mode: Mode
    reason: Reason


NO_ROLLOUT: Final = Decision(Arm.LEGACY, Mode.LEGACY, Reason.NO_ROLLOUT)
NO_KEY: Final = Decision(Arm.LEGACY, Mode.LEGACY, Reason.NO_KEY)
BREAKER: Final = Decision(Arm.LEGACY, Mode.LEGACY, Reason.BREAKER)
BUCKET_OUT: Final = Decision(Arm.LEGACY, Mode.LEGACY, Reason.BUCKET_OUT)
BUCKET_IN: Final = Decision(Arm.AGENT, Mode.CANARY, Reason.BUCKET_IN)


def decide(weight: int, bucket: int | None, *, tripped: bool) -> Decision:
    """`weight` and `bucket` are in thousandths of a percent; `bucket` is None where the request has no key."""
    if bucket is None:
        return NO_KEY
    if bucket >= weight:
        return BUCKET_OUT
    return BREAKER if tripped else BUCKET_IN


_STEP: Final = 61_803
"""Coprime to BUCKETS and near its golden section: any run of samples is spread evenly."""


def sampled(count: int, share: int) -> bool:
    """Whether the count-th request of a route is in a sample of `share` (of BUCKETS).

    A low-discrepancy sequence instead of a random draw: of BUCKETS requests in a row exactly `share` are in. Smaller
    samples lie within larger ones, so that what is recorded is, as far as it goes, what was also copied.
    """
    return share >= BUCKETS or count * _STEP % BUCKETS < share
