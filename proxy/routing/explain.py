"""Why a user's requests go where they go: what is decided of a key now and at each stage, with a sentence for each.

The rule: nothing is decided here. Key, bucket and arm come from the functions that a request passes (`identity`,
`bucket`, `decide`), so that an explanation cannot differ from what is done.

What it leaves out, because it depends on the request and not on the user: a tester's signed override, which goes where
it says; and the moment between a worker's breaker that trips and the rollback of the rollout, in which that worker
sends those who are in to legacy already (`breaker`).
"""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote_from_bytes

from proxy.model.snapshot import BUCKETS, KeySource, RolloutSpec
from proxy.model.words import Arm, Phase, Reason
from proxy.routing.bucket import bucketer, key_hasher
from proxy.routing.decide import Decision, decide
from proxy.routing.identity import Source, find_key, sources


class Standing(NamedTuple):
    """What becomes of the user at one weight (thousandths of a percent), and why."""

    stage: str
    weight: int
    decision: Decision
    sentence: str


class Place(NamedTuple):
    """Where a key is looked for. `alike`: the key, written into a request there as it is, is read as just this key;
    else that place reads it otherwise (a query decodes it, a cookie loses its quotes)."""

    source: KeySource
    alike: bool


class Explanation(NamedTuple):
    """`key_hash` (hex) is what recorded pairs hold of the user. Without a key `bucket` is None.

    `enters` is the first of `stages` at which the agent serves the user; None where none of them does it. `held_back`:
    the user is of those whom the holdback leaves with legacy at every stage. `places` are in the order of looking.
    """

    bucket: int | None
    key_hash: str
    now: Standing
    stages: tuple[Standing, ...]
    enters: str | None
    held_back: bool
    places: tuple[Place, ...]


def explain(spec: RolloutSpec, key: bytes, stages: Iterable[tuple[str, int]], holdback: int) -> Explanation:
    """What workers with this `spec` do with the requests of a user.

    `key` is as `identity.find_key` gives it: a header's bytes, a cookie's without quotes, a parameter's decoded, an
    address's text. Empty, it is none. `stages` are (name, weight) of the plan, in their order, none under a fixed
    split. `holdback` (of BUCKETS) is what the plan kept of their weights.
    """
    bucket = bucketer(spec.salt)(key) if key else None
    held_back = bucket is not None and bucket >= BUCKETS - holdback
    planned = tuple(_standing(name, weight, bucket, held_back) for name, weight in stages)
    return Explanation(
        bucket=bucket,
        key_hash=key_hasher(spec.salt)(key).hex() if key else "",
        now=_now(spec, bucket, held_back),
        stages=planned,
        enters=next((at.stage for at in planned if at.decision.arm is Arm.AGENT), None),
        held_back=held_back,
        places=tuple(
            Place(given, _reads(place, key) == key) for given, place in zip(spec.key, sources(spec.key), strict=True)
        ),
    )


def _standing(stage: str, weight: int, bucket: int | None, held_back: bool) -> Standing:
    decision = decide(weight, bucket, tripped=False)
    return Standing(stage, weight, decision, _sentence(decision.reason, weight, bucket, held_back))


def _now(spec: RolloutSpec, bucket: int | None, held_back: bool) -> Standing:
    """A rollout without weight may be so for a reason of its own, which says more than the bucket."""
    standing = _standing(spec.stage, spec.weight, bucket, held_back)
    if standing.decision.reason is not Reason.BUCKET_OUT or spec.weight > 0:
        return standing
    if spec.phase is Phase.DEGRADED:
        return standing._replace(sentence="the rollout is rolled back, so legacy serves everybody until `retry`")
    if spec.phase is Phase.STAGING:
        return standing._replace(sentence=f"version {spec.version} has not begun, so legacy serves everybody")
    return standing


def _sentence(reason: Reason, weight: int, bucket: int | None, held_back: bool) -> str:
    percent = f"{weight / 1000:g} %"
    if bucket is None or reason is Reason.NO_KEY:
        return "a request without a key is legacy's, at every weight"
    if reason is Reason.BUCKET_IN:
        return f"bucket {bucket:,} is below {weight:,} ({percent}), so the agent serves"
    if held_back:
        return f"bucket {bucket:,} is held back: it stays with legacy at every stage"
    if weight == 0:
        return "the agent serves nobody here (0 %), so legacy does"
    return f"bucket {bucket:,} is not below {weight:,} ({percent}), so legacy serves"


def _reads(source: Source, text: bytes) -> bytes | None:
    """What a request that bears `text` in this place would be read as."""
    noted = [(b"cookie", source.name + b"=" + text) if source.kind == "cookie" else (source.name, text)]
    query = quote_from_bytes(source.name, safe="").encode() + b"=" + text
    return find_key((source,), noted, query, text)
