-- Put what is due at the head of its queue.   KEYS: delays delayed   ARGV: how many at most
-- Replies {moved, milliseconds until the next is due or -1}.
-- The latest goes first: so the one that has been due for longest ends up in front, over several calls, too.
-- with: clock record

redis.call('ZREM', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
local now = now_ms()
local due = redis.call('ZREVRANGEBYSCORE', KEYS[1], now, '-inf', 'LIMIT', 0, ARGV[1])
for _, member in ipairs(due) do
  local _, key, raw = unframe(member:sub(member:find(' ', 1, true) + 1))
  redis.call('RPUSH', key, raw)
  redis.call('ZREM', KEYS[1], member)
  if redis.call('HINCRBY', KEYS[2], key, -1) <= 0 then
    redis.call('HDEL', KEYS[2], key)
  end
end
local next_one = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { #due, next_one[2] and math.max(0, next_one[2] - now) or -1 }
