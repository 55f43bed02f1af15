-- Run commands in one step, even while memory is full.   KEYS: a key of the first command
-- ARGV: for each command its number of words, then the words   Replies the reply of each command.
-- MULTI is no alternative: inside it a full server refuses every command, on Redis 7.0 even reads and deletions.

redis.call('DEL', KEYS[1] .. ':none') -- the first write, which changes nothing: see script.py on full memory
local replies, at = {}, 1
while at <= #ARGV do
  local last = at + ARGV[at]
  replies[#replies + 1] = redis.call(unpack(ARGV, at + 1, last))
  at = last + 1
end
return replies
