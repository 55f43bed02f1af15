-- Look at the oldest messages of lists, and take none.   KEYS: lists   ARGV: count largest most
-- Replies for each list its oldest messages, up to `count` of them; '' stands for one of more than `largest` bytes.
-- It looks at no more than about `most` bytes, so that other clients do not wait for it.

local seen, largest, most, replies = 0, tonumber(ARGV[2]), tonumber(ARGV[3]), {}
for k = 1, #KEYS do
  local heads = {}
  for i = 1, ARGV[1] do
    local raw = seen < most and redis.pcall('LINDEX', KEYS[k], -i)
    if type(raw) ~= 'string' then -- the end of the list, or a key that holds no list
      break
    end
    seen = seen + #raw
    heads[i] = #raw <= largest and raw or ''
  end
  replies[k] = heads
end
return replies
