-- Take a place for one more worker, if one is wanted.   KEYS: want members   ARGV: wid member_ms
-- The check and the booking are one step, so two hosts cannot take the same place. Replies 1 or 0.
-- with: clock

redis.call('ZREM', KEYS[2], '') -- the first write, which changes nothing: see script.py on full memory
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. now_ms())
if redis.call('ZCARD', KEYS[2]) >= tonumber(redis.call('GET', KEYS[1]) or 0) then
  return 0
end
redis.call('ZADD', KEYS[2], now_ms() + ARGV[2], ARGV[1])
return 1
