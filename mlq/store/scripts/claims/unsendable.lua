-- Return the oldest message whose reply did not arrive: only its two ends, because the whole cannot be sent.
-- KEYS: claims   ARGV: bytes of each end, ids that the worker holds
-- Replies nil, or {id, claimed_at_ms, queue key, bytes, beginning, end}.
-- with: record crash lost

local length, held = tonumber(ARGV[1]), {}
for i = 2, #ARGV do
  held[ARGV[i]] = true
end
local id = lost_ids(KEYS[1], held)[1]
if not id then
  return {}
end
local at_ms, key, raw = unframe(redis.call('HGET', KEYS[1], id))
return { id, at_ms, key, #raw, raw:sub(1, length), raw:sub(-length) }
