-- Give a new worker its lease, unless one of its queues is served with another model.
-- KEYS: leases models...   ARGV: wid lease_ms fingerprint rollout
-- Replies {} if the worker is registered, or {number of the queue, wid, fingerprint} of a worker with another model.
-- A queue has the models of its live workers. During a rollout it has several, and workers of each may start.
-- The check and the registration are one step: if two models are started at once, the second finds the first.
-- With NX a repeated call changes nothing.
-- with: clock

redis.call('ZREM', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
local now = now_ms()
for i = 2, #KEYS do
  local models, known, other = redis.call('HGETALL', KEYS[i]), false, nil
  for j = 1, #models, 2 do
    local deadline = redis.call('ZSCORE', KEYS[1], models[j])
    if not deadline then
      redis.call('HDEL', KEYS[i], models[j]) -- that worker was reaped
    elseif models[j] ~= ARGV[1] and tonumber(deadline) >= now then
      known = known or models[j + 1] == ARGV[3]
      other = other or { i - 1, models[j], models[j + 1] }
    end
  end
  if other and not known and ARGV[4] ~= '1' then
    return other
  end
end
for i = 2, #KEYS do
  redis.call('HSET', KEYS[i], ARGV[1], ARGV[3])
end
redis.call('ZADD', KEYS[1], 'NX', now + ARGV[2], ARGV[1])
return {}
