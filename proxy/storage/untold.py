"""Which escalations the human queue has not heard of yet.

| key | type | holds |
|---|---|---|
| `crossfade:{route}:told` | string | the id of the last entry of `escalations` that was taken from there |
| `crossfade:{route}:untold` | sorted set | `<entry> <id> <pair> <reason>` of each one taken, by when it is tried next |

The rule: an entry leaves `escalations` for `untold` in the same step in which the cursor passes it, and `untold` only
when it has been told, or is given up. So each is told at least once, whoever leads, and one that cannot be told keeps
no other one from it. At most MAX_UNTOLD wait there; the rest wait in the stream, which is bounded as the pairs are.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from proxy.storage import keys
from proxy.storage.connection import Client, ask
from proxy.storage.escalations import Entry
from proxy.storage.scripts import COMMON, bare

MAX_UNTOLD: Final = 10_000
"""Escalations of one route that wait to be tried again."""

_CHUNK: Final = 500

_TAKE: Final = bare(
    COMMON
    + """
-- KEYS: escalations, told, untold. ARGV: most untold, entries to take, seconds that are looked back where nothing was
--       ever taken, now, how many that are due to answer.
-- Returns {how many wait, what is due}.
local problem = not_a('stream', KEYS[1]) or not_a('string', KEYS[2]) or not_a('zset', KEYS[3])
if problem then return problem end
local told = redis.call('GET', KEYS[2])
if told and not string.match(told, '^%d+-%d+$') then return foreign(KEYS[2], 'is no id of an entry') end
local room = math.min(ARGV[1] - redis.call('ZCARD', KEYS[3]), tonumber(ARGV[2]))
local first = told and '(' .. told or string.format('%.0f', (redis.call('TIME')[1] - ARGV[3]) * 1000)
local entries = redis.call('XRANGE', KEYS[1], first, '+', 'COUNT', ARGV[2])
local taken = 0
for _, entry in ipairs(entries) do
  if taken >= room then break end
  local fields = {}
  for n = 1, #entry[2], 2 do fields[entry[2][n]] = entry[2][n + 1] end
  if fields.id and fields.pair and fields.reason then
    redis.call('ZADD', KEYS[3], ARGV[4], table.concat({entry[1], fields.id, fields.pair, fields.reason}, ' '))
  end
  taken = taken + 1
end
if taken > 0 then
  redis.call('SET', KEYS[2], entries[taken][1])
elseif not told and #entries == 0 then
  -- From now on, so that what comes is not looked for further back with every second.
  local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  if newest then redis.call('SET', KEYS[2], newest[1]) end
end
local due = redis.call('ZRANGE', KEYS[3], '-inf', ARGV[4], 'BYSCORE', 'LIMIT', 0, ARGV[5])
return {redis.call('ZCARD', KEYS[3]) + #entries - taken, due}
"""
)


class Untold(NamedTuple):
    """`waiting` are all that wait (of those beyond MAX_UNTOLD some hundreds at most), `due` those to be tried now."""

    waiting: int
    due: list[Entry]


class UntoldStore:
    def __init__(self, redis: Client) -> None:
        self._redis = redis

    async def take(self, route: str, now: float, limit: int, *, back: float) -> Untold:
        """What is due at `now` (Unix seconds), the longest due first. Where nothing was ever taken of this route, what
        is older than `back` seconds is left out."""
        names = (keys.escalations(route), keys.told(route), keys.untold(route))
        values = (MAX_UNTOLD, _CHUNK, int(back), f"{now:.3f}", limit)
        waiting, due = await ask(self._redis, "EVAL", _TAKE, len(names), *names, *values)
        return Untold(waiting, [Entry(*member.decode().split(" ", 3)) for member in due])

    async def put_off(self, route: str, entry: Entry, until: float) -> None:
        """Try it again at `until`."""
        key = keys.untold(route)
        await ask(self._redis, "ZADD", key, "XX", f"{until:.3f}", " ".join(entry), key=key)

    async def settle(self, route: str, entries: Sequence[Entry]) -> None:
        """They have been told, or are given up."""
        if entries:
            key = keys.untold(route)
            await ask(self._redis, "ZREM", key, *(" ".join(entry) for entry in entries), key=key)
