"""Batches as bytes, for the spool: msgpack `[3, [batch, ...]]`, one frame for one tick's share of all routes."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgpack

from proxy.model.rollouts import MAX_AGE, MAX_BYTES, Batch, Evidence, Kept
from proxy.model.tick import pack_buckets, unpack_buckets
from proxy.storage.tally import from_row, row

FORMAT: Final = 3

_BEFORE: Final = (1, 2)
"""The formats before: 1 with counts alone and no users, 2 with pairs of verdict and document alone. They are read: a
spool may hold them while Crossfade is upgraded."""


def encode(batches: list[Batch]) -> bytes:
    wire = [
        [
            batch.route,
            batch.source,
            batch.seq,
            batch.max_pairs,
            [[*key, *_evidence(evidence)] for key, evidence in batch.evidence.items()],
            batch.pairs,
            [[*key, pack_buckets(legacy), pack_buckets(agent)] for key, (legacy, agent) in batch.users.items()],
            batch.outcomes,
            batch.max_bytes,
            batch.max_age,
            batch.handed,
        ]
        for batch in batches
    ]
    data: bytes = msgpack.packb([FORMAT, wire])
    return data


def decode(frame: bytes) -> list[Batch]:
    """The batches that `encode` was given. Raises ValueError on anything else, a newer format included."""
    try:
        number, wire = msgpack.unpackb(frame)
        if number not in (*_BEFORE, FORMAT):
            raise ValueError(f"has format {number}, and this Crossfade knows {FORMAT}")
        return [_batch_before(*fields) if number == _BEFORE[0] else _batch(*fields) for fields in wire]
    except (TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"is no batch: {error}") from error


def _evidence(evidence: Evidence) -> tuple[Any, ...]:
    segments = [[name, *counts] for name, counts in evidence.segments.items()]
    decisions = [[*cell, count] for cell, count in evidence.decisions.items()]
    return row(evidence), segments, decisions, [[path, *counts] for path, counts in evidence.fields.items()]


def _batch(
    route: str,
    source: str,
    seq: int,
    max_pairs: int,
    evidence: Any,
    pairs: Any,
    users: Iterable[Sequence[Any]],
    outcomes: Sequence[bytes] = (),
    max_bytes: int = MAX_BYTES,
    max_age: float = MAX_AGE,
    handed: Sequence[Sequence[Any]] = (),
) -> Batch:
    return Batch(
        route,
        source,
        seq,
        {
            (version, epoch, stage): from_row(
                counts,
                {name: (matched, mismatched) for name, matched, mismatched in segments},
                {(legacy, agent): count for legacy, agent, count in decisions},
                {path: (pairs, repeats) for places in fields for path, pairs, repeats in places},
            )
            for version, epoch, stage, counts, segments, decisions, *fields in evidence
        },
        {
            (version, epoch, stage, weight): (unpack_buckets(legacy), unpack_buckets(agent))
            for version, epoch, stage, weight, legacy, agent in users
        },
        tuple(_kept(*fields) for fields in pairs),
        tuple(outcomes),
        tuple(_kept(*fields) for fields in handed),
        max_pairs,
        max_bytes,
        max_age,
    )


def _kept(
    verdict: str | None,
    document: bytes,
    at: float = 0.0,
    key_hash: str = "",
    refs: Sequence[str] = (),
    until: float = 0.0,
    escalation: str = "",
    reason: str = "",
) -> Kept:
    return Kept(verdict, document, at, key_hash, tuple(refs), until, escalation, reason)


def _batch_before(route: str, source: str, seq: int, max_pairs: int, evidence: Any, pairs: Any) -> Batch:
    with_names = [[version, epoch, stage, counts, (), ()] for version, epoch, stage, *counts in evidence]
    return _batch(route, source, seq, max_pairs, with_names, pairs, ())
