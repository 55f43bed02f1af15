-- Give a new worker its lease, unless its model is not the one of a queue that it would serve.
-- KEYS: leases models...   ARGV: wid lease_ms fingerprint rollout
-- Replies {} for a worker that is registered, or {number of the queue, wid, fingerprint}: who serves it with what.
-- A queue has the models of its live workers: more than one during a rollout, when each of them may be started.
-- Looking and entering are one step: of two models started at once the second finds the first.
-- NX: a call that is repeated changes nothing.
-- with: clock

redis.call('ZREM', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
local now = now_ms()
for i = 2, #KEYS do
  local models, known, other = redis.call('HGETALL', KEYS[i]), false, nil
  for j = 1, #models, 2 do
    local deadline = redis.call('ZSCORE', KEYS[1], models[j])
    if not deadline then
      redis.call('HDEL', KEYS[i], models[j]) -- it was reaped
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
