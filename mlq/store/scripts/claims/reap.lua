-- Fence a worker and give back all its claims, once.
-- KEYS: leases claims crashes watches dead unanswered bytes
-- ARGV: wid seen side limit letters most known, claim ..., field value ...
--   seen     the expired deadline for which the worker is reaped, or '' if the caller saw the process exit
--   limit    crashes that one message may cause, or '' if no message is to blame
--   letters  prefix of the keys of dead letters; the pairs describe how the worker ended
--   most     claims that one call may give back, because the server is blocked meanwhile
--   known    number of claims that follow, which may have caused the crash; -1: any claim of the worker
-- Replies {'GONE'}, {'ALIVE'}, {'REAPED', given back, id of the dead letter or ''}, or {'MANY', 0, id} if the worker
-- held more than `most` claims. Then its lease has the deadline 0, which fences it. The caller gives the claims back in
-- portions, marks them as suspects if several may have caused the crash, and calls again.
-- with: clock record crash give_back watch letter_bytes letter

local leases, claims, crashes, watches, dead, unanswered, bytes = unpack(KEYS)
local wid, seen, side, limit, letters, most, known = unpack(ARGV, 1, 7)
local is_known = tonumber(known) >= 0
local pairs_at = 8 + (is_known and known or 0)

local deadline = tonumber(redis.call('ZSCORE', leases, wid))
if not deadline then
  return { 'GONE' }
end
-- A supervisor that lost its connection may have renewed the lease since the caller read it: then the worker is alive.
if seen ~= '' and (deadline ~= tonumber(seen) or deadline >= now_ms()) then
  return { 'ALIVE' }
end

redis.call('HDEL', claims, '') -- the first write, which changes nothing: see script.py on full memory
local are_many = redis.call('HLEN', claims) > tonumber(most)

-- If the key has another type, no crash is counted, and all claims are given back: see claim.lua.
local function count_crash(raw)
  local count = redis.pcall('HINCRBY', crashes, redis.sha1hex(raw), 1)
  return type(count) == 'number' and count or 0
end

-- Blame a message only if it was the worker's only claim. Otherwise each message becomes a suspect without blame: it is
-- claimed alone from now on, so the next crash identifies the message that causes it.
local function blame(ids)
  for _, id in ipairs(ids) do
    local record = redis.call('HGET', claims, id)
    local _, _, raw = unframe(record)
    if #ids > 1 then
      redis.pcall('HSETNX', crashes, redis.sha1hex(raw), 0)
    elseif count_crash(raw) >= tonumber(limit) then
      file_letter(dead, letters .. id, crashes, id, record, pairs_at, bytes)
      redis.call('SADD', unanswered, id) -- the caller stores its failure next, or else the next recovery does
      redis.call('HDEL', claims, id)
      return id
    end
  end
  return ''
end

local function suspects()
  if not is_known then
    return are_many and {} or redis.call('HKEYS', claims)
  end
  local held = {}
  for i = 8, pairs_at - 1 do
    if redis.call('HEXISTS', claims, ARGV[i]) == 1 then -- its completion may have been recorded just before
      held[#held + 1] = ARGV[i]
    end
  end
  return held
end

local dead_lettered = limit ~= '' and blame(suspects()) or ''
if are_many then
  redis.call('ZADD', leases, 'XX', 0, wid)
  return { 'MANY', 0, dead_lettered }
end
local given = give_back(claims, redis.call('HKEYS', claims), side)

local bells = redis.pcall('HKEYS', watches)
for _, bell in ipairs(bells) do
  if leave_watch(watches, bell, wid) then
    ring(bell)
  end
end
redis.call('ZREM', leases, wid) -- last, so that a script which is stopped half-way can be repeated
return { 'REAPED', given, dead_lettered }
