"""Erasing what is kept of one person, on each route at which the person may have been.

A person is the key by which requests are targeted; what is recorded holds only its hash, keyed by the rollout's salt.
So the same key has another hash on each route, and had another one under each salt before: whoever changed a salt must
name the old one. The key itself is neither kept nor logged. The audit line in the log names the person by the digest
under which `erased` knows them, so that whoever has key and salt can find it, and nobody else.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from proxy.config.schema import Config
from proxy.model.clock import Clock
from proxy.model.errors import StoreFormatError
from proxy.routing.bucket import key_hasher
from proxy.storage.erasure import Erased, ErasureStore, digest
from proxy.telemetry.families import ERASED
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger()

AHEAD: Final = 10.0
"""Seconds after the erasure until which nothing is kept either: other machines' clocks may be ahead of ours."""

PATIENCE: Final = 60.0
"""Seconds for the server to write its files anew."""

NOT_ERASED: Final = (
    "what was counted (evidence, metrics, users by bucket), which tells nobody's requests apart",
    "log lines that were written already",
    "what was exported, handed on to a collector of traces or told to the webhook before",
    "what legacy and the agent keep themselves",
    "requests that carried no key",
)
FILES: Final = "the store's own files, replicas and backups, until they are written anew"


class Eraser:
    """`proxy.model.ports.PersonEraser`. `own_store`: the server is ours alone, and so are its files."""

    def __init__(
        self, store: ErasureStore, config: Callable[[], Config], metrics: Metrics, clock: Clock, *, own_store: bool
    ) -> None:
        self._store, self._config, self._metrics, self._clock = store, config, metrics, clock
        self._own_store = own_store
        self._one_at_a_time = asyncio.Lock()

    async def erase(
        self, key: bytes, *, route: str | None, salts: Sequence[str], actor: str, reason: str
    ) -> dict[str, Any]:
        known = self._salts(route, salts)
        async with self._one_at_a_time:
            erased: dict[str, dict[str, Any]] = {}
            for name, each in known.items():
                hashes = sorted({key_hasher(salt)(key).hex() for salt in each})
                erased[name] = await self._erase(name, hashes, actor, reason)
            rewritten = self._own_store and await self._store.rewrite_files(PATIENCE)
        return {"erased": erased, "not_erased": [*NOT_ERASED, *(() if rewritten else (FILES,))]}

    def _salts(self, route: str | None, old: Sequence[str]) -> Mapping[str, list[str]]:
        """By route. KeyError where nothing is known of the route, and no salt is given."""
        present = {each.name: [each.rollout.salt] for each in self._config().routes if each.rollout is not None}
        if route is not None:
            if route not in present and not old:
                raise KeyError(route)
            present = {route: present.get(route, [])}
        return {name: [*salts, *old] for name, salts in present.items()}

    async def _erase(self, route: str, hashes: list[str], actor: str, reason: str) -> dict[str, Any]:
        """What is wrong with one route's keys must not keep the person on the others."""
        said = {"route": route, "of": [digest(each)[:16] for each in hashes], "actor": actor, "reason": reason}
        try:
            erased = await self._store.erase(route, hashes, self._clock.now() + AHEAD)
        except StoreFormatError as error:
            _log.error("person_not_erased", **said, problem=str(error))
            return {**Erased()._asdict(), "error": str(error)}
        self._metrics.count(ERASED, route, n=erased.pairs)
        _log.info("person_erased", **said, **erased._asdict())
        return erased._asdict()
