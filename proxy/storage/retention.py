"""Keeping no longer than is said, also where nothing new comes: WRITE_BATCH trims as it writes, this at other times."""

from typing import NamedTuple

from proxy.model.words import Match
from proxy.storage import keys
from proxy.storage.connection import Client, ask
from proxy.storage.erasure import REMEMBERED
from proxy.storage.erasure_scripts import SWEEP

LIMIT = 5_000
"""Entries of each key that one call removes at most."""

_INDICES = tuple(match.value for match in Match if match is not Match.PENDING)


class Bounds(NamedTuple):
    """Of what is kept of a route: seconds, pairs, bytes."""

    max_age: float
    max_pairs: int
    max_bytes: int


class Swept(NamedTuple):
    """Pairs that were too old, and that max_bytes cost. `more`: call again. `unfinished`: an erasure was cut off before
    it had written the pairs anew."""

    aged: int
    trimmed: int
    more: bool
    unfinished: bool


class RetentionStore:
    def __init__(self, redis: Client) -> None:
        self._redis = redis

    async def sweep(self, route: str, bounds: Bounds, now: float) -> Swept:
        names = [keys.pairs(route), keys.pending(route), keys.erased(route), keys.escalations(route)]
        names += [keys.verdict(route, word) for word in _INDICES]
        values = (int(bounds.max_age), bounds.max_pairs, bounds.max_bytes, int(now - REMEMBERED), LIMIT)
        reply = await ask(self._redis, "EVAL", SWEEP, len(names), *names, *values)
        return Swept(reply[0], reply[1], bool(reply[2]), bool(reply[3]))
