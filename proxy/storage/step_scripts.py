"""The Lua of `steps`: as those in `scripts`, each checks what could fail before it writes."""

from typing import Final

from proxy.storage.scripts import COMMON, bare

_COMMON: Final = """
local function drop(trace, index, sizes)
  local size = tonumber(redis.call('HGET', sizes, trace) or 0)
  if size > 0 then redis.call('HINCRBY', sizes, ':total', -size) end
  redis.call('HDEL', sizes, trace)
  redis.call('ZREM', index, trace)
end
"""

KEEP_STEPS: Final = bare(
    COMMON
    + _COMMON
    + """
-- KEYS: layout, the steps of the trace, traces, trace_bytes.
-- ARGV: layout, trace, spans that a trace may have, links, bytes, seconds to keep them, traces that the route may have,
--       bytes of them all, then of each span its id, and its steps or its parent's id.
-- Returns {what became of each span: 1 kept, 0 known, -1 over, -2 erased; traces that had to go before their time}.
local problem = not_a('string', KEYS[1]) or not_a('hash', KEYS[2]) or not_a('zset', KEYS[3]) or not_a('hash', KEYS[4])
if problem then return problem end
local layout = redis.call('GET', KEYS[1])
if layout and (tonumber(layout) or 99) > tonumber(ARGV[1]) then
  return foreign(KEYS[1], 'is newer than ' .. ARGV[1] .. ', the layout that this Crossfade knows')
end
local held = redis.call('HMGET', KEYS[2], ':erased', ':spans', ':links', ':bytes', ':over')
for i = 2, 5 do
  if held[i] and not tonumber(held[i]) then return foreign(KEYS[2], 'holds no count') end
end
local fates = {}
if held[1] then
  for n = 1, (#ARGV - 8) / 2 do fates[n] = -2 end
  return {fates, {}}
end
local spans, links, bytes, over =
  tonumber(held[2] or 0), tonumber(held[3] or 0), tonumber(held[4] or 0), tonumber(held[5] or 0)
local before, met = bytes, over
for i = 9, #ARGV, 2 do
  local value, fate = ARGV[i + 1], -1
  local size = #value + 100
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
    fate = 0
  elseif #value <= 16 then
    if links < tonumber(ARGV[4]) then links, fate = links + 1, 1 end
  elseif spans < tonumber(ARGV[3]) and bytes + size <= tonumber(ARGV[5]) then
    spans, fate = spans + 1, 1
  else
    over = over + 1
  end
  if fate == 1 then
    bytes = bytes + size
    redis.call('HSET', KEYS[2], ARGV[i], value)
  end
  fates[#fates + 1] = fate
end
if bytes == before and over == met then return {fates, {}} end
redis.call('HSET', KEYS[2], ':spans', spans, ':links', links, ':bytes', bytes, ':over', over)
if before == 0 and met == 0 then redis.call('EXPIRE', KEYS[2], ARGV[6]) end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZADD', KEYS[3], 'NX', now, ARGV[2])
redis.call('HINCRBY', KEYS[4], ARGV[2], bytes - before)
redis.call('HINCRBY', KEYS[4], ':total', bytes - before)
redis.call('EXPIRE', KEYS[3], ARGV[6])
redis.call('EXPIRE', KEYS[4], ARGV[6])
local oldest = string.format('%.0f', now - ARGV[6] * 1000)
for _, trace in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', oldest, 'LIMIT', 0, 100)) do
  drop(trace, KEYS[3], KEYS[4])
end
local gone = {}
while #gone < 100 and (redis.call('ZCARD', KEYS[3]) > tonumber(ARGV[7])
    or tonumber(redis.call('HGET', KEYS[4], ':total') or 0) > tonumber(ARGV[8])) do
  local trace = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
  if not trace then break end
  drop(trace, KEYS[3], KEYS[4])
  gone[#gone + 1] = trace
end
return {fates, gone}
"""
)

FORGET_STEPS: Final = bare(
    COMMON
    + _COMMON
    + """
-- KEYS: the steps of the trace, traces, trace_bytes. ARGV: trace, seconds for which none of it are kept.
-- Returns how many spans there were.
local problem = not_a('hash', KEYS[1]) or not_a('zset', KEYS[2]) or not_a('hash', KEYS[3])
if problem then return problem end
local spans = tonumber(redis.call('HGET', KEYS[1], ':spans') or 0)
drop(ARGV[1], KEYS[2], KEYS[3])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], ':erased', 1)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return spans
"""
)
