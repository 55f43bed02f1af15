-- Read the oldest messages of lists without removing them.   KEYS: lists   ARGV: count largest most
-- Replies the oldest messages of each list, up to `count`; '' stands for a message of more than `largest` bytes.
-- It stops after about `most` bytes, so that other clients do not wait for long.

local seen, largest, most, replies = 0, tonumber(ARGV[2]), tonumber(ARGV[3]), {}
for k = 1, #KEYS do
  local heads = {}
  for i = 1, ARGV[1] do
    local raw = seen < most and redis.pcall('LINDEX', KEYS[k], -i)
    if type(raw) ~= 'string' then -- the end of the list, or a key that is not a list
      break
    end
    seen = seen + #raw
    heads[i] = #raw <= largest and raw or ''
  end
  replies[k] = heads
end
return replies
