-- Write a worker's heartbeat.   KEYS: heartbeat workers orders   ARGV: id heartbeat seconds
-- Every beat adds the id to the set, because a reader that saw the key expire may just have removed it.
-- Replies the order for this worker, or nil.

redis.call('SREM', KEYS[2], '') -- the first write, which changes nothing: see script.py on full memory
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('SADD', KEYS[2], ARGV[1])
return redis.call('HGET', KEYS[3], ARGV[1])
