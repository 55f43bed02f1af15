-- Renew leases.   KEYS: leases   ARGV: lease_ms, wids
-- Replies the wids that have none any more: fenced, and never to be revived, for their claims are others' now.
-- with: clock

redis.call('ZREM', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
local deadline, fenced = now_ms() + ARGV[1], {}
for i = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], 'XX', deadline, ARGV[i])
  else
    fenced[#fenced + 1] = ARGV[i]
  end
end
return fenced
