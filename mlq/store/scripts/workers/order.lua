-- Leave an order for a worker that lives.   KEYS: orders heartbeat   ARGV: id order
-- Replies 1, or 0 where there is no heartbeat: an order that nobody will take would stay for ever.

redis.call('HDEL', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
if redis.call('EXISTS', KEYS[2]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
