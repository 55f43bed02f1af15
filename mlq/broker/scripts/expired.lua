-- Look for leases that have run out, by the server's clock.   KEYS: leases   Replies wid, deadline, ...
-- with: clock

return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now_ms(), 'WITHSCORES')
