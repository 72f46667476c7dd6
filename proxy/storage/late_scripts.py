"""The Lua scripts of late decisions. As those of `scripts`, each changes the keys of one route in one step, or none."""

from typing import Final

from proxy.storage.scripts import COMMON, COUNTS, MAX_WAITING, bare

PUT: Final = bare(
    COMMON
    + """
-- KEYS: layout, outcomes. ARGV: layout, the late decisions.
-- Returns how many of them, from the first on, there was room for.
local problem = not_a('string', KEYS[1]) or not_a('stream', KEYS[2])
if problem then return problem end
if tonumber(redis.call('GET', KEYS[1]) or 0) > tonumber(ARGV[1]) then
  return foreign(KEYS[1], 'is not ' .. ARGV[1] .. ', the layout that this Crossfade knows')
end
local room = MAX_WAITING - redis.call('XLEN', KEYS[2])
local kept = math.max(0, math.min(room, #ARGV - 1))
for n = 2, kept + 1 do redis.call('XADD', KEYS[2], '*', 'outcome', ARGV[n]) end
return kept
""".replace("MAX_WAITING", str(MAX_WAITING))
)

SETTLE: Final = bare(
    COMMON
    + COUNTS
    + """
-- KEYS: outcomes, pairs, pending, stages, then of each pair: what is kept of it as closed, its totals, the index of its
--       verdict.
-- ARGV: the inbox's entry (empty: there is none), seconds to keep totals, max_stages, max_pairs, number of pairs, then
--       of each: id; the digest of what was found as closed (empty: nothing); what it becomes (empty: it stays) and
--       when that goes; whether it gets an entry in the index; name of its stage, epoch; the counts to take away and
--       those to add, as WRITE_BATCH takes them.
-- Returns {1, or 0 where the entry is gone, or -1 where a pair is no longer as it was found; counts that went beyond
--          the bound; then of each pair 1, or 0 where it is gone}.
local entry, pairs_ = ARGV[1], tonumber(ARGV[5])
local problem = not_a('stream', KEYS[1]) or not_a('stream', KEYS[2]) or not_a('zset', KEYS[3]) or not_a('zset', KEYS[4])
for n = 5, #KEYS, 3 do
  problem = problem or not_a('string', KEYS[n]) or not_a('hash', KEYS[n + 1]) or not_a('stream', KEYS[n + 2])
end
if problem then return problem end
if entry ~= '' and #redis.call('XRANGE', KEYS[1], entry, entry) == 0 then return {0, 0} end

local function read(n)
  local pair = {closed = KEYS[2 + 3 * n], totals = KEYS[3 + 3 * n], index = KEYS[4 + 3 * n]}
  pair.id, pair.found, pair.becomes, pair.goes = take(), take(), take(), take()
  pair.indexed, pair.stage, pair.epoch = take() == '1', take(), tonumber(take())
  pair.less = plan(pair.totals, true)
  if pair.less.err then return pair.less end
  beyond = 0
  pair.more = plan(pair.totals)
  if pair.more.err then return pair.more end
  return pair
end
local there = {}
at = 6
for n = 1, pairs_ do
  local pair = read(n)
  if pair.err then return pair end
  there[n] = #redis.call('XRANGE', KEYS[2], pair.id, pair.id) > 0
  local closed = redis.call('GET', pair.closed)
  if there[n] and (closed and redis.sha1hex(closed) or '') ~= pair.found then return {-1, 0} end
end

-- From here on nothing fails. What is to be added is read once more, since pairs may be of one stage.
local answer, lost = {1, 0}, 0
at = 6
for n = 1, pairs_ do
  local pair = read(n)
  redis.call('ZREM', KEYS[3], pair.id)
  if not there[n] then
    redis.call('DEL', pair.closed)
  elseif pair.becomes ~= '' then
    lost = lost + beyond
    redis.call('SET', pair.closed, pair.becomes)
    redis.call('EXPIREAT', pair.closed, pair.goes)
    for k = 1, #pair.less, 2 do
      local held = tonumber(redis.call('HGET', pair.totals, pair.less[k]) or 0)
      local cut = math.min(held, tonumber(pair.less[k + 1]))
      if cut > 0 then redis.call('HINCRBY', pair.totals, pair.less[k], -cut) end
    end
    if #pair.more > 0 then
      local fresh = redis.call('EXISTS', pair.totals) == 0
      count(pair.totals, pair.more, ARGV[2])
      if fresh then index(KEYS[4], pair.stage, pair.epoch, ARGV[3]) end
    end
    if pair.indexed then redis.call('XADD', pair.index, 'MAXLEN', '~', ARGV[4], '*', 'of', pair.id) end
  end
  answer[2 + n] = there[n] and 1 or 0
end
answer[2] = lost
if entry ~= '' then redis.call('XDEL', KEYS[1], entry) end
return answer
"""
)

SET_ASIDE: Final = bare(
    COMMON
    + """
-- KEYS: outcomes, ref, what came early for it, the index of that. ARGV: the inbox's entry, the late decision, the ref,
--       when its pair is given up, seconds to keep it, how many for one ref, how many refs.
-- Returns 1 where it waits for its pair now, 2 where there is no room, 0 where the entry is gone, -1 where the pair is
--         there.
local problem = not_a('stream', KEYS[1]) or not_a('set', KEYS[2]) or not_a('list', KEYS[3]) or not_a('zset', KEYS[4])
if problem then return problem end
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 then return -1 end
redis.call('XDEL', KEYS[1], ARGV[1])
local known = redis.call('ZSCORE', KEYS[4], ARGV[3])
if redis.call('LLEN', KEYS[3]) >= tonumber(ARGV[6]) then return 2 end
if not known and redis.call('ZCARD', KEYS[4]) >= tonumber(ARGV[7]) then return 2 end
redis.call('RPUSH', KEYS[3], ARGV[2])
redis.call('EXPIRE', KEYS[3], ARGV[5])
redis.call('ZADD', KEYS[4], ARGV[4], ARGV[3])
return 1
"""
)

GIVE_UP: Final = bare(
    COMMON
    + """
-- KEYS: the index of what came early, what came early for one ref. ARGV: the ref, the time.
-- Returns how many decisions have waited in vain; none where their pair came, or one more of them waits.
local problem = not_a('zset', KEYS[1]) or not_a('list', KEYS[2])
if problem then return problem end
local when = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not when or tonumber(when) > tonumber(ARGV[2]) then return 0 end
local waited = redis.call('LLEN', KEYS[2])
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[1], ARGV[1])
return waited
"""
)
