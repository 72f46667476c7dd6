"""The two Lua scripts: each changes the keys of one route in one step, or refuses and changes nothing.

A script in Redis is never interrupted but also never rolled back, so both check everything that could fail half way
(types of keys, numbers in hashes, layout and format) before they write the first time.

They are sent whole (EVAL), not by their hash. That costs a kilobyte beside batches of hundreds, and spares the case in
which one command of a pipeline finds the script gone and the next one finds it there again.
"""

from typing import Final

from proxy.storage.connection import FOREIGN
from proxy.storage.totals import FIELDS

VERDICTS: Final = ("matched", "mismatched", "incomparable")
"""The order of the verdicts' keys and the numbers (1 to 3, 0 for none) by which WRITE_BATCH names them."""

_COMMON: Final = """
local function foreign(key, problem) return redis.error_reply('FOREIGN ' .. key .. ' ' .. problem) end
local function not_a(kind, key)
  local found = redis.call('TYPE', key).ok
  return found ~= 'none' and found ~= kind and foreign(key, 'is a ' .. found .. ' and should be a ' .. kind)
end
""".replace("FOREIGN", FOREIGN)

WRITE_BATCH: Final = (
    _COMMON
    + """
-- KEYS: layout, seen, pairs, the verdicts' three, totals...
-- ARGV: layout, seq, seq of the batch before in this pipeline (or -1), seconds to keep seen, seconds to keep totals,
--       max_pairs, max_bytes, nine counts for each totals, then verdict and document of each pair
-- Returns 0 when the batch had been written before, else 1 more than the pairs that max_bytes cost.
local seq, before = tonumber(ARGV[2]), tonumber(ARGV[3])
local problem = not_a('string', KEYS[1]) or not_a('string', KEYS[2])
for i = 3, 6 do problem = problem or not_a('stream', KEYS[i]) end
for i = 7, #KEYS do problem = problem or not_a('hash', KEYS[i]) end
if problem then return problem end

local layout = redis.call('GET', KEYS[1])
if layout and layout ~= ARGV[1] then
  return foreign(KEYS[1], 'is not ' .. ARGV[1] .. ', the layout that this Crossfade knows')
end
local seen = redis.call('GET', KEYS[2])
if seen and not tonumber(seen) then return foreign(KEYS[2], 'holds no sequence number') end
local high = tonumber(seen or -1)
if high >= seq then return 0 end
-- The batch before was refused (a server that was still loading, say): this one must not overtake it.
if high < before then return redis.error_reply('ERR the batch before this one is missing') end

local fields = {FIELDS}
for i = 7, #KEYS do
  for n, value in ipairs(redis.call('HMGET', KEYS[i], unpack(fields))) do
    if value and not string.match(value, '^%d+$') then
      return foreign(KEYS[i], 'field ' .. fields[n] .. ' is no count')
    end
  end
end

local next_argument = 8
for i = 7, #KEYS do
  for n, field in ipairs(fields) do
    local count = ARGV[next_argument + n - 1]
    if count ~= '0' then redis.call('HINCRBY', KEYS[i], field, count) end
  end
  redis.call('EXPIRE', KEYS[i], ARGV[5])
  next_argument = next_argument + #fields
end
for i = next_argument, #ARGV, 2 do
  local id = redis.call('XADD', KEYS[3], '*', 'pair', ARGV[i + 1])
  local verdict = tonumber(ARGV[i])
  if verdict > 0 then redis.call('XADD', KEYS[3 + verdict], id, '', '') end
end
local trimmed = 0
if next_argument < #ARGV then
  for i = 3, 6 do redis.call('XTRIM', KEYS[i], 'MAXLEN', '~', ARGV[6]) end
  -- Some managed servers have no MEMORY; there the number of pairs is the only bound.
  local size, limit = redis.pcall('MEMORY', 'USAGE', KEYS[3]), tonumber(ARGV[7])
  if type(size) == 'number' and size > limit then
    trimmed = redis.call('XTRIM', KEYS[3], 'MAXLEN', '~', math.floor(redis.call('XLEN', KEYS[3]) * limit / size))
  end
end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[4])
if not layout then redis.call('SET', KEYS[1], ARGV[1]) end
return 1 + trimmed
""".replace("{FIELDS}", "{" + ", ".join(f"'{field}'" for field in FIELDS) + "}")
)

SAVE_STATE: Final = (
    _COMMON
    + """
-- KEYS: state, history. ARGV: format, revision, state, max_history, event (may be empty).
-- Returns the revision that is stored now: ARGV[2] when it was saved, another one when someone else was faster.
local problem = not_a('string', KEYS[1]) or not_a('stream', KEYS[2])
if problem then return problem end
local revision, stored = tonumber(ARGV[2]), 0
local old = redis.call('GET', KEYS[1])
if old == ARGV[3] then return revision end -- the same state again, after a lost reply
if old then
  local ok, state = pcall(cjson.decode, old)
  if not ok or type(state) ~= 'table' or type(state.revision) ~= 'number' then
    return foreign(KEYS[1], 'holds no state of a rollout')
  end
  if state.format ~= tonumber(ARGV[1]) then
    return foreign(KEYS[1], 'has a format that this Crossfade does not know')
  end
  stored = state.revision
end
if stored ~= revision - 1 then return stored == revision and -1 or stored end
redis.call('SET', KEYS[1], ARGV[3])
if ARGV[5] ~= '' then redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'event', ARGV[5]) end
return revision
"""
)
