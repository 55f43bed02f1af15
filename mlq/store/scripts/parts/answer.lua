-- Store a result and publish it to the waiting client: Celery subscribes to a channel with the name of the key.
-- `at` is the index in ARGV of its six arguments: this database, the result's database (on the same server), key,
-- payload, seconds to keep (0: no limit), and for a job's chunk the `filed` of filing.lua. Without a key nothing is stored.
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
