-- File a claimed message among the dead. The circumstances are the pairs of ARGV from `first` on.
local function file_letter(dead, letter, crashes, id, record, first)
  local claimed_at, key, raw = unframe(record)
  local buried_at, crashed = now_ms(), crash_counter(crashes)(raw)
  redis.call('HSET', letter, 'raw', raw, 'queue_key', key, 'crashes', crashed or 0)
  redis.call('HSET', letter, 'claimed_at_ms', claimed_at, 'buried_at_ms', buried_at)
  for i = first, #ARGV, 2 do
    redis.call('HSET', letter, ARGV[i], ARGV[i + 1])
  end
  redis.call('ZADD', dead, buried_at, id)
  if crashed then
    redis.call('HDEL', crashes, redis.sha1hex(raw))
  end
end
