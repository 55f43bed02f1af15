-- Move a portion of the due messages to the heads of their queues.
-- KEYS: delays delayed bytes   ARGV: most messages, most bytes
-- Replies {moved, milliseconds until the next message is due or -1}; 0 ms if more messages are due than were moved.
-- The latest message is moved first, so the one that has been due for longest ends up in front, also over several calls.
-- Only a few are read at a time, because they may be large, and each read keeps its messages in the script's memory.
-- with: clock record

redis.call('ZREM', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
local now, most, most_bytes, at_a_time = now_ms(), tonumber(ARGV[1]), tonumber(ARGV[2]), 8
local moved, bytes = 0, 0
while moved < most and bytes < most_bytes do
  local due = redis.call('ZREVRANGEBYSCORE', KEYS[1], now, '-inf', 'LIMIT', 0, at_a_time)
  for _, member in ipairs(due) do
    local _, key, raw = unframe(member:sub(member:find(' ', 1, true) + 1))
    redis.call('RPUSH', key, raw)
    redis.call('ZREM', KEYS[1], member)
    redis.pcall('DECRBY', KEYS[3], #member) -- may fall below 0 if an older version has not counted: see delay.lua
    if redis.call('HINCRBY', KEYS[2], key, -1) <= 0 then
      redis.call('HDEL', KEYS[2], key)
    end
    moved, bytes = moved + 1, bytes + #member
  end
  if #due < at_a_time then
    break
  end
end
local next_one = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { moved, next_one[2] and math.max(0, next_one[2] - now) or -1 }
