-- Record that queues are in use.   KEYS: queues   ARGV: kept_ms most names...
-- Names that were not used for `kept_ms` are removed, and beyond `most` names the least recently used ones.
-- with: clock

redis.call('ZREM', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
local now = now_ms()
for i = 3, #ARGV do
  redis.call('ZADD', KEYS[1], now, ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[2] - 1)
return redis.status_reply('OK')
