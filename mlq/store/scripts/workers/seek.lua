-- Renew the lead and the places of an autoscaler, and reply the state of the queue's scaling.
-- KEYS: leader want members   ARGV: id lead_ms member_ms, wids of its own workers
-- It leads if it led before, or if the leader's time has run out. Members whose time has run out do not count any more.
-- Replies {leader, want or '', the members}.
-- with: clock

redis.call('ZREM', KEYS[3], '') -- the first write, which changes nothing: see script.py on full memory
local now = now_ms()
local until_ms, leader = (redis.call('GET', KEYS[1]) or '0 '):match('^(%d+) (.*)$')
if leader == ARGV[1] or tonumber(until_ms) <= now then
  leader = ARGV[1]
  redis.call('SET', KEYS[1], string.format('%d %s', now + ARGV[2], leader))
end
for i = 4, #ARGV do
  redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. now)
return { leader, redis.call('GET', KEYS[2]) or '', redis.call('ZRANGE', KEYS[3], 0, -1) }
