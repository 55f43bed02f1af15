-- Fence a worker and give back everything that it held, once.
-- KEYS: leases claims crashes watches dead unanswered bytes
-- ARGV: wid seen side limit letters most known, claim ..., field value ...
--   seen     the expired deadline for which it is reaped, or '' when the caller saw the process end
--   limit    blamed crashes that a message may cause, or '' when nobody is to blame
--   letters  what the keys of dead letters begin with; the pairs say how the worker ended
--   most     claims that one call gives back: for that long the server does nothing else
--   known    how many claims follow that it was for; -1: it may have been any that it held
-- Replies {'GONE'}, {'ALIVE'}, {'REAPED', given back, id of the dead letter or ''}, or {'MANY', 0, id}: it held more
-- than `most`. Then its lease has the deadline 0, which fences it, and the caller gives the claims back in portions,
-- marks them as suspects if a crash was for several, and calls again.
-- with: clock record crash give_back watch letter_bytes letter

local leases, claims, crashes, watches, dead, unanswered, bytes = unpack(KEYS)
local wid, seen, side, limit, letters, most, known = unpack(ARGV, 1, 7)
local is_known = tonumber(known) >= 0
local pairs_at = 8 + (is_known and known or 0)

local deadline = tonumber(redis.call('ZSCORE', leases, wid))
if not deadline then
  return { 'GONE' }
end
-- A supervisor that was away may have renewed since the caller looked: then nobody is dead.
if seen ~= '' and (deadline ~= tonumber(seen) or deadline >= now_ms()) then
  return { 'ALIVE' }
end

redis.call('HDEL', claims, '') -- the first write, which changes nothing: see script.py on full memory
local are_many = redis.call('HLEN', claims) > tonumber(most)

-- Where the key is of another type no crash is counted, and all is given back: see claim.lua.
local function count_crash(raw)
  local count = redis.pcall('HINCRBY', crashes, redis.sha1hex(raw), 1)
  return type(count) == 'number' and count or 0
end

-- Blame a message only if the worker died with it alone in its hands. Of several each is a suspect, without
-- blame: from now on it is claimed alone, and the next crash names the culprit.
local function blame(ids)
  for _, id in ipairs(ids) do
    local record = redis.call('HGET', claims, id)
    local _, _, raw = unframe(record)
    if #ids > 1 then
      redis.pcall('HSETNX', crashes, redis.sha1hex(raw), 0)
    elseif count_crash(raw) >= tonumber(limit) then
      file_letter(dead, letters .. id, crashes, id, record, pairs_at, bytes)
      redis.call('SADD', unanswered, id) -- by the caller, in a moment, or by whoever recovers next
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
    if redis.call('HEXISTS', claims, ARGV[i]) == 1 then -- it may have been recorded just before
      held[#held + 1] = ARGV[i]
    end
  end
  return held
end

local buried = limit ~= '' and blame(suspects()) or ''
if are_many then
  redis.call('ZADD', leases, 'XX', 0, wid)
  return { 'MANY', 0, buried }
end
local given = give_back(claims, redis.call('HKEYS', claims), side)

local bells = redis.pcall('HKEYS', watches)
for _, bell in ipairs(bells) do
  if leave_watch(watches, bell, wid) then
    ring(bell)
  end
end
redis.call('ZREM', leases, wid) -- last: a reaper that is stopped half-way is tried again
return { 'REAPED', given, buried }
