-- Store a result and tell whoever waits for it: Celery subscribes to a channel named like the key.
-- `at` is where its six words begin in ARGV: this database, the result's (of the same server), key, payload,
-- seconds to keep (0: for ever), and for a job's chunk what filing.lua wants to know. No key, no result.
local function answer(at)
  local here, there, key, payload, seconds, filed = unpack(ARGV, at, at + 5)
  if key == '' then
    return
  end
  if there ~= here then
    redis.call('SELECT', there)
  end
  if filed ~= '' then
    file(key, payload, seconds, filed)
  else
    if seconds == '0' then
      redis.call('SET', key, payload)
    else
      redis.call('SET', key, payload, 'EX', seconds)
    end
    redis.call('PUBLISH', key, payload)
  end
  if there ~= here then
    redis.call('SELECT', here)
  end
end
