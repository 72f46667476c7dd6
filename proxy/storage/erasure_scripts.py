"""The Lua of `erasure` and of keeping no longer than is said. As those in `scripts`, each checks before it writes."""

from typing import Final

from proxy.storage.scripts import COMMON, bare

BEGIN: Final = bare(
    COMMON
    + """
-- KEYS: erasing, erased. ARGV: who erases, seconds for which nobody else may, when, seconds to keep that, then the
--       digests of the key hashes.
-- Returns 1, or 0 while somebody else erases.
local problem = not_a('string', KEYS[1]) or not_a('hash', KEYS[2])
if problem then return problem end
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then return 0 end
for n = 5, #ARGV do redis.call('HSET', KEYS[2], ARGV[n], ARGV[3]) end
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
"""
)

HOLD: Final = bare(
    """
-- KEYS: erasing. ARGV: who erases, seconds more, or 0 to let go. Returns whether it was ours.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
)

ERASE_PAIR: Final = bare(
    COMMON
    + """
-- KEYS: pairs, pending, erased, closed, then the refs. ARGV: the pair.
-- Returns {whether it was there, whether a decision had come}.
local problem = not_a('stream', KEYS[1]) or not_a('zset', KEYS[2]) or not_a('hash', KEYS[3])
for n = 5, #KEYS do problem = problem or not_a('set', KEYS[n]) end
if problem then return problem end
redis.call('HSET', KEYS[3], ':rewrite', 1)
local there = redis.call('XDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
for n = 5, #KEYS do redis.call('SREM', KEYS[n], ARGV[1]) end
return {there, redis.call('DEL', KEYS[4])}
"""
)

_REPLACE: Final = """
-- Lets the stream `anew` take the place of `old`. Ids go on where they were, also behind one that was erased.
local function replace(old, anew)
  local info = redis.call('XINFO', 'STREAM', old)
  for n = 1, #info, 2 do
    if info[n] == 'last-generated-id' then redis.call('XSETID', anew, info[n + 1]) end
  end
  redis.call('UNLINK', old)
  redis.call('PERSIST', anew)
  redis.call('RENAME', anew, old)
end
"""

REWRITE: Final = bare(
    COMMON
    + _REPLACE
    + """
-- KEYS: erasing, erased, pairs, pairs anew. ARGV: who erases, the last entry that was copied (empty: begin), how many
--       to copy, seconds to go on for.
-- Returns {1 when done, 0 when there is more, -1 where somebody else erases; the last entry copied}.
local problem = not_a('hash', KEYS[2]) or not_a('stream', KEYS[3])
if problem then return problem end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {-1, ''} end
redis.call('EXPIRE', KEYS[1], ARGV[4])
local last = ARGV[2]
if last == '' then redis.call('DEL', KEYS[4]) end
local entries = redis.call('XRANGE', KEYS[3], last == '' and '-' or '(' .. last, '+', 'COUNT', ARGV[3])
for _, entry in ipairs(entries) do
  redis.call('XADD', KEYS[4], entry[1], unpack(entry[2]))
  last = entry[1]
end
redis.call('EXPIRE', KEYS[4], ARGV[4])
if #entries == tonumber(ARGV[3]) then return {0, last} end
if redis.call('EXISTS', KEYS[4]) == 1 then replace(KEYS[3], KEYS[4]) end
redis.call('HDEL', KEYS[2], ':rewrite')
return {1, last}
"""
)

REWRITE_SMALL: Final = bare(
    COMMON
    + _REPLACE
    + """
-- KEYS: a stream, the stream anew. ARGV: how many may be in it. All at once: an entry must not come back that somebody
--       else takes out meanwhile.
local problem = not_a('stream', KEYS[1])
if problem then return problem end
local size = redis.call('XLEN', KEYS[1])
if size == 0 or size > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[2])
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
  redis.call('XADD', KEYS[2], entry[1], unpack(entry[2]))
end
replace(KEYS[1], KEYS[2])
return 1
"""
)

SWEEP: Final = bare(
    COMMON
    + """
-- KEYS: pairs, pending, erased, escalations, then the verdicts. ARGV: seconds to keep pairs, max_pairs, max_bytes, the
--       oldest time of an erasure that still counts, entries of each key that are removed at most.
-- Returns {pairs that were too old, pairs that max_bytes cost, whether there is more to do, whether the pairs are to be
--          written anew}.
local problem = not_a('stream', KEYS[1]) or not_a('zset', KEYS[2]) or not_a('hash', KEYS[3])
for n = 4, #KEYS do problem = problem or not_a('stream', KEYS[n]) end
if problem then return problem end
local limit, more = tonumber(ARGV[5]), 0
local oldest = string.format('%.0f', (redis.call('TIME')[1] - ARGV[1]) * 1000)
-- Whole nodes of the stream first, and of the last one what is left: exact trimming knows no limit.
local function trim(key)
  local gone = redis.call('XTRIM', key, 'MINID', '~', oldest, 'LIMIT', limit)
  if gone < limit then return gone + redis.call('XTRIM', key, 'MINID', '=', oldest) end
  more = 1
  return gone
end
local aged, trimmed = trim(KEYS[1]), 0
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[2], 'LIMIT', limit)
local size, bytes = redis.pcall('MEMORY', 'USAGE', KEYS[1]), tonumber(ARGV[3])
if type(size) == 'number' and size > bytes then
  local rest = math.floor(redis.call('XLEN', KEYS[1]) * bytes / size)
  trimmed = redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', rest, 'LIMIT', limit)
end
for n = 4, #KEYS do trim(KEYS[n]) end
-- Open pairs that are gone. (Those whose time is over are seen to by who joins decisions.)
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local edge = first and tonumber(string.match(first[1], '^%d+'))
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, limit - 1)) do
  local made = tonumber(string.match(id, '^%d+'))
  if made and (not edge or made < edge) then redis.call('ZREM', KEYS[2], id) end
end
local erased = redis.call('HGETALL', KEYS[3])
for n = 1, #erased, 2 do
  if string.sub(erased[n], 1, 1) ~= ':' and (tonumber(erased[n + 1]) or 0) < tonumber(ARGV[4]) then
    redis.call('HDEL', KEYS[3], erased[n])
  end
end
return {aged, trimmed, more, redis.call('HEXISTS', KEYS[3], ':rewrite')}
"""
)
