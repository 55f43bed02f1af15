-- Run commands in one step, although the memory may be full.   KEYS: a key of the first command
-- ARGV: for each command how many words it has, then the words   Replies what each replied.
-- In MULTI a full server refuses every command, on Redis 7.0 even those that read or make room.

redis.call('DEL', KEYS[1] .. ':none') -- the first write, which changes nothing: see script.py on full memory
local replies, at = {}, 1
while at <= #ARGV do
  local last = at + ARGV[at]
  replies[#replies + 1] = redis.call(unpack(ARGV, at + 1, last))
  at = last + 1
end
return replies
