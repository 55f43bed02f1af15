-- Record an order for a live worker.   KEYS: orders heartbeat   ARGV: id order
-- Replies 1, or 0 if there is no heartbeat: an order for a worker that has ended would never be removed.

redis.call('HDEL', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
if redis.call('EXISTS', KEYS[2]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
