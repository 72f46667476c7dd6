"""Routes that Crossfade wrote in layout 1, brought to the present one: once for each, before the first write to it.

Layout 1 lacked the index of stages, by which earlier versions' evidence is found. Nobody but a scan of the server's
keys knows them, so this looks at all of them, without holding the server up. What it does may be done twice.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import structlog

from proxy.storage import keys
from proxy.storage.connection import Client, ask, translated
from proxy.storage.scripts import EPOCH_RANK, UPGRADE

_log = structlog.get_logger()

_PAGE: Final = 1000


async def upgrade(redis: Client, routes: Iterable[str]) -> None:
    """Raises StoreUnavailableError, StoreFormatError."""
    found: dict[str, list[tuple[int, int, str]]] = {route: [] for route in routes}
    async for key, route, name in _totals(redis):
        if route in found:
            # All totals live equally long after their last batch, so who has more time left was written later.
            left = await ask(redis, "TTL", key)
            found[route].append((int(name.partition(":")[0]), left, name))
    for route, stages in found.items():
        await _upgrade_one(redis, route, sorted(stages))


async def _upgrade_one(redis: Client, route: str, stages: list[tuple[int, int, str]]) -> None:
    before, present = keys.READABLE[0], keys.LAYOUT
    values: list[int | str] = [before, present]
    rank: dict[int, int] = {}
    for epoch, _, name in stages:
        rank[epoch] = min(rank.get(epoch, -1) + 1, EPOCH_RANK - 1)
        values += (epoch * EPOCH_RANK + rank[epoch], name)
    names = (keys.layout(route), keys.stages(route))
    if await ask(redis, "EVAL", UPGRADE, len(names), *names, *values):
        _log.info("store_upgraded", route=route, layout=present, stages=len(stages))


async def _totals(redis: Client) -> AsyncIterator[tuple[str, str, str]]:
    """Key, route and stage's name of all totals there are, of all routes."""
    pages: Any = redis.scan_iter(match=keys.totals_pattern(), count=_PAGE)
    with translated():
        async for raw in pages:
            key = raw.decode(errors="replace")
            route, name = keys.split_totals(key)
            if name.partition(":")[0].isdecimal():
                yield key, route, name
