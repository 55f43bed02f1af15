-- Forget a dead letter.   KEYS: dead letter   ARGV: id   Replies 1, or 0 if it is gone.

redis.call('ZREM', KEYS[1], ARGV[1])
return redis.call('DEL', KEYS[2])
