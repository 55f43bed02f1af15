-- Renew leases, and look for what has run out meanwhile, by the server's clock.
-- KEYS: leases delays   ARGV: lease_ms, wids
-- Replies {wids, {wid, deadline, ...}, due, ms}: those that have no lease any more (fenced, and never to be revived,
-- for their claims are others' now), those whose lease has run out, how many delayed messages are due, and when the
-- next lease runs out (-1: there is none). Of the expired it names a few; the others come with a later call.
-- with: clock

redis.call('ZREM', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
local now, fenced = now_ms(), {}
for i = 2, #ARGV do
  local deadline = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if deadline and deadline ~= '0' then -- 0: it is being reaped (reap.lua)
    redis.call('ZADD', KEYS[1], 'XX', now + ARGV[1], ARGV[i])
  else
    fenced[#fenced + 1] = ARGV[i]
  end
end
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'WITHSCORES', 'LIMIT', 0, 100)
local _, soonest = unpack(redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1))
local due = redis.pcall('ZCOUNT', KEYS[2], '-inf', now)
due = type(due) == 'number' and due or 0 -- a key of another type: leases are renewed all the same
return { fenced, expired, due, soonest and math.ceil(soonest - now) or -1 }
