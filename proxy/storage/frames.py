"""Batches as bytes, for the spool: msgpack `[1, [batch, ...]]`, one frame for one tick's share of all routes."""

from typing import Final

import msgpack

from proxy.model.rollouts import Batch
from proxy.storage.totals import from_row, row

FORMAT: Final = 1


def encode(batches: list[Batch]) -> bytes:
    wire = [
        [
            batch.route,
            batch.source,
            batch.seq,
            batch.max_pairs,
            [[*key, *row(evidence)] for key, evidence in batch.evidence.items()],
            batch.pairs,
        ]
        for batch in batches
    ]
    data: bytes = msgpack.packb([FORMAT, wire])
    return data


def decode(frame: bytes) -> list[Batch]:
    """The batches that `encode` was given. Raises ValueError on anything else, a newer format included."""
    try:
        number, wire = msgpack.unpackb(frame)
        if number != FORMAT:
            raise ValueError(f"has format {number}, and this Crossfade knows {FORMAT}")
        return [
            Batch(
                route,
                source,
                seq,
                {(version, epoch, stage): from_row(tuple(counts)) for version, epoch, stage, *counts in evidence},
                tuple((verdict, document) for verdict, document in pairs),
                max_pairs,
            )
            for route, source, seq, max_pairs, evidence, pairs in wire
        ]
    except (TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"is no batch: {error}") from error
