-- Say that a worker is alive.   KEYS: heartbeat workers orders   ARGV: id word seconds
-- The set is written with every beat: a reader may have just removed the id, having seen the key expire.
-- Replies what was ordered of this worker, or nil.

redis.call('SREM', KEYS[2], '') -- the first write, which changes nothing: see script.py on full memory
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('SADD', KEYS[2], ARGV[1])
return redis.call('HGET', KEYS[3], ARGV[1])
