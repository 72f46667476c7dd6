"""A human's decision that comes later than legacy's answer, and how the pair that it belongs to is found again.

A decision names its pair by a case (what legacy's answer called it) or by the id of the request. Both may be personal,
so only a keyed digest of them is kept: a `ref`.
"""

import hashlib
from typing import Any, Final, Literal, NamedTuple

import orjson

Kind = Literal["case", "request"]

_DIGEST: Final = 16


class LateOutcome(NamedTuple):
    """`decided_at` and `received_at` are Unix seconds, `by` is who decided, as far as is known, `via` the way it came:
    `api` or `callback`."""

    ref: str
    decision: Any
    decided_at: float
    received_at: float
    by: str
    via: str


def ref(salt: str, kind: Kind, value: str) -> str:
    """The digest (hex) of a case or a request's id on a route whose rollout has this salt."""
    key = hashlib.blake2b(salt.encode(), digest_size=32, person=b"crossfade ref").digest()
    return hashlib.blake2b(f"{kind}\0{value}".encode(), digest_size=_DIGEST, key=key).hexdigest()


def encode(outcome: LateOutcome) -> bytes:
    return orjson.dumps(tuple(outcome))


def decode(data: bytes) -> LateOutcome:
    """What `encode` gave. Raises ValueError on anything else."""
    fields = orjson.loads(data)
    if not isinstance(fields, list) or len(fields) != len(LateOutcome._fields):
        raise ValueError("is no late decision")
    return LateOutcome(*fields)
