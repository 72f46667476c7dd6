"""The Lua scripts: each changes the keys of one route in one step, or refuses and changes nothing.

A script in Redis is never interrupted but also never rolled back, so all check everything that could fail half way
(types of keys, numbers in hashes, layout and format) before they write the first time.

They are sent whole (EVAL), not by their hash, but without their comments. That costs four kilobytes beside batches of
hundreds, and spares the case in which one command of a pipeline finds the script gone and the next one finds it there
again.
"""

import re
from typing import Final

from proxy.storage import keys
from proxy.storage.connection import FOREIGN
from proxy.storage.tally import MAX_NAMED

VERDICTS: Final = ("matched", "mismatched", "incomparable")
"""The order of the verdicts' keys and the numbers (1 to 3, 0 for any other) by which WRITE_BATCH names them."""

FIRST_TOTAL: Final = 12
"""The number of WRITE_BATCH's first key that is of evidence."""

MAX_ALIKE: Final = 20
"""Open pairs that may share a ref: a request that was sent again is the same case."""

MAX_WAITING: Final = 100_000
"""Late decisions of a route that may wait to be joined."""

OLD_LAYOUT: Final = -1
"""What WRITE_BATCH answers, first, where the route's keys must be brought to the present layout before (`upgrade`)."""

EPOCH_RANK: Final = 1000
"""A stage's score in the index is its epoch times this, plus its rank within the epoch."""


def bare(script: str) -> str:
    """Without indentation and comments: the server hashes every byte each time."""
    return re.sub(r"^ *(--.*\n)?| *--.*$", "", script, flags=re.MULTILINE)


COMMON: Final = """
local function foreign(key, problem) return redis.error_reply('FOREIGN ' .. key .. ' ' .. problem) end
local function not_a(kind, key)
  local found = redis.call('TYPE', key).ok
  return found ~= 'none' and found ~= kind and foreign(key, 'is a ' .. found .. ' and should be a ' .. kind)
end
""".replace("FOREIGN", FOREIGN)

COUNTS: Final = """
local at, beyond = 0, 0
local function take() at = at + 1 return ARGV[at - 1] end
-- Reads what a totals' arguments name, and says what to add to which of its fields. `less`: what was added before is to
-- be taken away. Who has a place keeps it, so what has none now had none then.
local function plan(key, less)
  local adds, fields, groups = {}, {}, {}
  for n = 1, 2 * tonumber(take()) do adds[n] = take() end
  for n = 1, #adds, 2 do fields[#fields + 1] = adds[n] end
  for g = 1, tonumber(take()) do
    local group = {kind = take(), size = tonumber(take()), first = at}
    at = at + 3 * group.size
    groups[g] = group
    fields[#fields + 1] = group.kind
    for n = group.first, group.first + 2 * group.size - 1 do fields[#fields + 1] = ARGV[n] end
  end
  local held = {}
  if #fields > 0 then
    for n, value in ipairs(redis.call('HMGET', key, unpack(fields))) do
      if value and (#value > 15 or not string.match(value, '^%d+$')) then
        return foreign(key, 'field ' .. fields[n] .. ' is no count')
      end
      held[fields[n]] = value
    end
  end
  local places = {}
  for _, group in ipairs(groups) do
    local first, size = group.first, group.size
    if not held[ARGV[first]] then
      local taken = (places[group.kind] or 0) + tonumber(held[group.kind] or 0)
      local room = taken < MAX_NAMED and not less
      if room then places[group.kind] = (places[group.kind] or 0) + 1 else first = first + size end
    end
    for n = 0, size - 1 do
      local count = ARGV[group.first + 2 * size + n]
      if first ~= group.first then beyond = beyond + count end
      adds[#adds + 1], adds[#adds + 2] = ARGV[first + n], count
    end
  end
  for kind, n in pairs(places) do adds[#adds + 1], adds[#adds + 2] = kind, n end
  return adds
end
local function count(key, adds, seconds)
  for n = 1, #adds, 2 do redis.call('HINCRBY', key, adds[n], adds[n + 1]) end
  redis.call('EXPIRE', key, seconds)
end
-- Notes a stage that has evidence for the first time, behind the others of its epoch.
local function index(stages, name, epoch, max_stages)
  local base = epoch * EPOCH_RANK
  local rank = math.min(redis.call('ZCOUNT', stages, base, base + EPOCH_RANK - 1), EPOCH_RANK - 1)
  redis.call('ZADD', stages, base + rank, name)
  redis.call('ZREMRANGEBYRANK', stages, 0, -1 - max_stages)
end
""".replace("MAX_NAMED", str(MAX_NAMED)).replace("EPOCH_RANK", str(EPOCH_RANK))
"""How scripts read counts from their arguments, from ARGV[at] on, and add them."""

WRITE_BATCH: Final = bare(
    COMMON
    + COUNTS
    + """
-- KEYS: layout, seen, pairs, the verdicts' three, stages, pending, outcomes, escalations, erased, totals..., users...,
--       then of each that is handed over: its escalation and what is known of it; of each pair: of each ref its key and
--       that of what came early for it; of its escalation, and what was known of that.
-- ARGV: layout, seq, seq of the batch before in this pipeline (or -1), seconds to keep seen, seconds to keep totals and
--       users, max_pairs, max_bytes, max_stages, number of totals, number of users, seconds to keep pairs, seconds to
--       keep refs after a pair has expired, number of late decisions, number of those handed over, then
--       of each totals: name of its stage, epoch, number of its fields, fields and counts, how many it counts by name,
--         and of each of these: kind, number of its fields, fields, fields beyond the bound, counts;
--       of each users: their buckets, 3 bytes each;
--       the late decisions;
--       of each that is handed over: its id, the word for its reason, its document, key hash, when it was recorded;
--       of each pair: verdict, document, key hash, when it was recorded, when it expires, number of its refs, id of its
--         escalation (empty: none) and the word for its reason.
-- Returns {0 when the batch had been written before, OLD_LAYOUT, or else 1; pairs that max_bytes cost; counts that went
--         beyond the bound; late decisions for which there was no room; pairs that were too old; the numbers of the
--         pairs whose person was erased, and of those handed over, below 0}.
local seq, before, last_totals = tonumber(ARGV[2]), tonumber(ARGV[3]), FIRST_TOTAL - 1 + tonumber(ARGV[9])
local last_users = last_totals + tonumber(ARGV[10])
local problem = not_a('string', KEYS[1]) or not_a('string', KEYS[2])
for i = 3, 6 do problem = problem or not_a('stream', KEYS[i]) end
problem = problem or not_a('zset', KEYS[8]) or not_a('stream', KEYS[9]) or not_a('stream', KEYS[10])
problem = problem or not_a('hash', KEYS[11])
local fresh = {}
for i = FIRST_TOTAL, last_totals do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind == 'none' then
    fresh[i] = true
    problem = problem or not_a('zset', KEYS[7])
  elseif kind ~= 'hash' then
    problem = problem or not_a('hash', KEYS[i])
  end
end
for i = last_totals + 1, last_users do problem = problem or not_a('string', KEYS[i]) end
if problem then return problem end

local layout = redis.call('GET', KEYS[1])
if layout == 'OLDER' then return {OLD, 0, 0, 0, 0, {}} end
if layout == 'LAST' then layout = nil end -- nothing of it has to be moved
if layout and layout ~= ARGV[1] then
  return foreign(KEYS[1], 'is not ' .. ARGV[1] .. ', the layout that this Crossfade knows')
end
local seen = redis.call('GET', KEYS[2])
if seen and not tonumber(seen) then return foreign(KEYS[2], 'holds no sequence number') end
local high = tonumber(seen or -1)
if high >= seq then return {0, 0, 0, 0, 0, {}} end
-- The batch before was refused (a server that was still loading, say): this one must not overtake it.
if high < before then return redis.error_reply('ERR the batch before this one is missing') end

at = 15
local plans, names = {}, {}
for i = FIRST_TOTAL, last_totals do
  names[i] = {take(), tonumber(take())}
  plans[i] = plan(KEYS[i])
  if plans[i].err then return plans[i] end
end

-- From here on nothing fails.
for i = FIRST_TOTAL, last_totals do
  count(KEYS[i], plans[i], ARGV[5])
  if fresh[i] and #plans[i] > 0 then index(KEYS[7], names[i][1], names[i][2], ARGV[8]) end
end
for i = last_totals + 1, last_users do
  local buckets, bits, n = take(), {}, 0
  for place = 1, #buckets, 3 do
    local high, middle, low = string.byte(buckets, place, place + 2)
    bits[n + 1], bits[n + 2], bits[n + 3], bits[n + 4] = 'SET', 'u1', high * 65536 + middle * 256 + low, 1
    n = n + 4
    if n == 2000 or place + 3 > #buckets then
      redis.call('BITFIELD', KEYS[i], unpack(bits, 1, n))
      n = 0
    end
  end
  redis.call('EXPIRE', KEYS[i], ARGV[5])
end
local room = MAX_WAITING - redis.call('XLEN', KEYS[9])
local refused = 0
local function late(field, value)
  if room > 0 then redis.call('XADD', KEYS[9], '*', field, value) else refused = refused + 1 end
  room = room - 1
end
for n = 1, tonumber(ARGV[13]) do late('outcome', take()) end
local first_pair, key, opened = at, last_users, false
-- A key of what comes late that is not of the kind it should be is somebody else's: what belongs there is left out.
local function of(kind)
  key = key + 1
  local found = redis.call('TYPE', KEYS[key]).ok
  return found == 'none' or found == kind
end
local erased, anyone = {}, redis.call('EXISTS', KEYS[11]) == 1
local function is_erased(key_hash, recorded)
  local until_ = anyone and key_hash ~= '' and redis.call('HGET', KEYS[11], redis.sha1hex(key_hash))
  return until_ and tonumber(recorded) <= tonumber(until_)
end
-- The human is told once, and a pair takes the place of what was known before.
for n = 1, tonumber(ARGV[14]) do
  local escalation, reason, document = take(), take(), take()
  local fresh = of('string') and redis.call('EXISTS', KEYS[key]) == 0
  fresh = of('string') and redis.call('EXISTS', KEYS[key]) == 0 and fresh
  if is_erased(take(), take()) then
    erased[#erased + 1] = -n
  elseif fresh then
    redis.call('SET', KEYS[key], document, 'EX', ARGV[11])
    redis.call('XADD', KEYS[10], 'MAXLEN', '~', ARGV[6], '*', 'id', escalation, 'pair', '-', 'reason', reason)
  end
end
first_pair = at
-- Whether any of the pairs is no longer open, so that something may have been decided of it.
local function any_closed(ids)
  for _, id in ipairs(ids) do
    if not redis.call('ZSCORE', KEYS[8], id) then return true end
  end
end
local function keep(verdict, document, until_, refs, escalation, reason)
  local id = redis.call('XADD', KEYS[3], '*', 'pair', document)
  if verdict > 0 then redis.call('XADD', KEYS[3 + verdict], '*', 'of', id) end
  if refs > 0 then
    opened = true
    redis.call('ZADD', KEYS[8], until_, id)
  end
  for n = 1, refs do
    if of('set') then
      local alike = redis.call('SMEMBERS', KEYS[key])
      if #alike < MAX_ALIKE then
        redis.call('SADD', KEYS[key], id)
        redis.call('EXPIREAT', KEYS[key], math.floor(until_) + tonumber(ARGV[12]))
        -- What was decided of the others is decided of this one too.
        if any_closed(alike) then late('again', string.match(KEYS[key], '[^:]*$')) end
      end
    end
    if of('list') then
      for _, outcome in ipairs(redis.call('LRANGE', KEYS[key], 0, -1)) do late('outcome', outcome) end
      redis.call('DEL', KEYS[key])
    end
  end
  if escalation ~= '' then
    if of('string') then redis.call('SET', KEYS[key], id, 'EX', ARGV[11]) end
    if of('string') and redis.call('DEL', KEYS[key]) == 0 then
      redis.call('XADD', KEYS[10], 'MAXLEN', '~', ARGV[6], '*', 'id', escalation, 'pair', id, 'reason', reason)
    end
  end
end
-- What waits for the pair of somebody who was erased, or was known of it before, goes too.
local function leave_out(refs, escalation)
  local names = 2 * refs + (escalation ~= '' and 2 or 0)
  for n = 2, names, 2 do redis.call('DEL', KEYS[key + n]) end
  key = key + names
end
local pair = 0
while at <= #ARGV do
  pair = pair + 1
  local verdict, document, key_hash, recorded = tonumber(take()), take(), take(), take()
  local until_, refs, escalation, reason = tonumber(take()), tonumber(take()), take(), take()
  if is_erased(key_hash, recorded) then
    erased[#erased + 1] = pair
    leave_out(refs, escalation)
  else
    keep(verdict, document, until_, refs, escalation, reason)
  end
end
if opened then redis.call('ZREMRANGEBYRANK', KEYS[8], 0, -1 - tonumber(ARGV[6])) end
local trimmed, aged = 0, 0
if first_pair <= #ARGV then
  local oldest = string.format('%.0f', (redis.call('TIME')[1] - ARGV[11]) * 1000)
  aged = redis.call('XTRIM', KEYS[3], 'MINID', '~', oldest)
  for i = 3, 6 do redis.call('XTRIM', KEYS[i], 'MAXLEN', '~', ARGV[6]) end
  -- Some managed servers have no MEMORY; there the number of pairs is the only bound.
  local size, limit = redis.pcall('MEMORY', 'USAGE', KEYS[3]), tonumber(ARGV[7])
  if type(size) == 'number' and size > limit then
    trimmed = redis.call('XTRIM', KEYS[3], 'MAXLEN', '~', math.floor(redis.call('XLEN', KEYS[3]) * limit / size))
  end
end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[4])
if not layout then redis.call('SET', KEYS[1], ARGV[1]) end
return {1, trimmed, beyond, refused, aged, erased}
""".replace("MAX_ALIKE", str(MAX_ALIKE))
    .replace("MAX_WAITING", str(MAX_WAITING))
    .replace("FIRST_TOTAL", str(FIRST_TOTAL))
    .replace("OLDER", str(keys.READABLE[0]))
    .replace("'LAST'", f"'{keys.READABLE[1]}'")
    .replace("{OLD,", f"{{{OLD_LAYOUT},")
)

SAVE_STATE: Final = bare(
    COMMON
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
  if type(state.format) ~= 'number' or state.format < 1 or state.format > tonumber(ARGV[1]) then
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

SAVE_GUARD: Final = bare(
    COMMON
    + """
-- KEYS: guard. ARGV: the memory, seconds to keep it.
local problem = not_a('string', KEYS[1])
if problem then return problem end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""
)

UPGRADE: Final = bare(
    COMMON
    + """
-- KEYS: layout, stages. ARGV: the layout before, the present one, then score and name of each stage with evidence.
local problem = not_a('string', KEYS[1]) or not_a('zset', KEYS[2])
if problem then return problem end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end -- somebody else did it
for i = 3, #ARGV, 2 do redis.call('ZADD', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
)
