-- Renew leases, and look for expired leases and due messages, by the server's clock.
-- KEYS: leases delays   ARGV: lease_ms, wids
-- Replies {wids, {wid, deadline, ...}, due, ms}: the given workers that have no lease any more (they stay fenced, because
-- other workers have their claims), the workers whose lease has run out, the number of delayed messages that are due,
-- and the time until the next lease runs out (-1: there is none). It replies only a few expired leases per call.
-- with: clock

redis.call('ZREM', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
local now, fenced = now_ms(), {}
for i = 2, #ARGV do
  local deadline = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if deadline and deadline ~= '0' then -- 0: the worker is being reaped (reap.lua)
    redis.call('ZADD', KEYS[1], 'XX', now + ARGV[1], ARGV[i])
  else
    fenced[#fenced + 1] = ARGV[i]
  end
end
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'WITHSCORES', 'LIMIT', 0, 100)
local _, soonest = unpack(redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1))
local due = redis.pcall('ZCOUNT', KEYS[2], '-inf', now)
due = type(due) == 'number' and due or 0 -- if the key has another type, leases are renewed all the same
return { fenced, expired, due, soonest and math.ceil(soonest - now) or -1 }
