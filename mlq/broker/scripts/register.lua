-- Give a new worker its lease.   KEYS: leases   ARGV: wid lease_ms
-- Replies the deadline. NX: a call that is repeated changes nothing.
-- with: clock

redis.call('ZREM', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
redis.call('ZADD', KEYS[1], 'NX', now_ms() + ARGV[2], ARGV[1])
return redis.call('ZSCORE', KEYS[1], ARGV[1])
