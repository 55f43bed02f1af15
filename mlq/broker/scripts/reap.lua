-- Fence a worker and give back everything that it held, once.
-- KEYS: leases claims crashes watches dead unanswered
-- ARGV: wid seen side limit letters known, claim ..., field value ...
--   seen     the expired deadline for which it is reaped, or '' when the caller saw the process end
--   limit    blamed crashes that a message may cause, or '' when nobody is to blame
--   letters  what the keys of dead letters begin with; the pairs say how the worker ended
--   known    how many claims follow that it was for; -1: it may have been any that it held
-- Replies {'GONE'}, {'ALIVE'}, or {'REAPED', given back, id of the dead letter or ''}.
-- with: clock record crash give_back watch letter

local leases, claims, crashes, watches, dead, unanswered = unpack(KEYS)
local wid, seen, side, limit, letters, known = unpack(ARGV, 1, 6)
local is_known = tonumber(known) >= 0
local pairs_at = 7 + (is_known and known or 0)

local deadline = tonumber(redis.call('ZSCORE', leases, wid))
if not deadline then
  return { 'GONE' }
end
-- A supervisor that was away may have renewed since the caller looked: then nobody is dead.
if seen ~= '' and (deadline ~= tonumber(seen) or deadline >= now_ms()) then
  return { 'ALIVE' }
end

redis.call('HDEL', claims, '') -- the first write, which changes nothing: see script.py on full memory

-- Blame a message only if the worker died with it alone in its hands. Of several each is a suspect, without
-- blame: from now on it is claimed alone, and the next crash names the culprit.
local function blame(ids)
  for _, id in ipairs(ids) do
    local record = redis.call('HGET', claims, id)
    local _, _, raw = unframe(record)
    if #ids > 1 then
      redis.call('HSETNX', crashes, redis.sha1hex(raw), 0)
    elseif redis.call('HINCRBY', crashes, redis.sha1hex(raw), 1) >= tonumber(limit) then
      file_letter(dead, letters .. id, crashes, id, record, pairs_at)
      redis.call('SADD', unanswered, id) -- by the caller, in a moment, or by whoever recovers next
      redis.call('HDEL', claims, id)
      return id
    end
  end
  return ''
end

local function suspects()
  if not is_known then
    return redis.call('HKEYS', claims)
  end
  local held = {}
  for i = 7, pairs_at - 1 do
    if redis.call('HEXISTS', claims, ARGV[i]) == 1 then -- it may have been recorded just before
      held[#held + 1] = ARGV[i]
    end
  end
  return held
end

local buried = limit ~= '' and blame(suspects()) or ''
local given = give_back(claims, redis.call('HKEYS', claims), side)

local bells = redis.call('HKEYS', watches)
for _, bell in ipairs(bells) do
  if leave_watch(watches, bell, wid) then
    ring(bell)
  end
end
redis.call('ZREM', leases, wid) -- last: a reaper that is stopped half-way is tried again
return { 'REAPED', given, buried }
