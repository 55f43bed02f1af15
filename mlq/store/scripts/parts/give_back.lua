-- Put claims back on their queues in their old order. RPOP serves the right end: at the head (right) the oldest message
-- must be pushed last, at the tail (left) first. Messages that are no longer claimed are skipped, so a repeated call
-- changes nothing.
local function give_back(claims, ids, side)
  local push = side == 'head' and 'RPUSH' or 'LPUSH'
  table.sort(ids, side == 'head' and function(one, other) return older(other, one) end or older)
  local given = 0
  for _, id in ipairs(ids) do
    local record = redis.call('HGET', claims, id)
    if record then
      local _, key, raw = unframe(record)
      redis.call(push, key, raw)
      redis.call('HDEL', claims, id)
      given = given + 1
    end
  end
  return given
end
