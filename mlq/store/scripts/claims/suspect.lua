-- Mark claims as suspects without blame: from now on each is claimed alone. Without effect if crashes has another type.
-- KEYS: claims crashes   ARGV: claim ids
-- with: record

redis.call('HDEL', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
for _, id in ipairs(ARGV) do
  local record = redis.call('HGET', KEYS[1], id)
  if record then
    local _, _, raw = unframe(record)
    redis.pcall('HSETNX', KEYS[2], redis.sha1hex(raw), 0)
  end
end
return 1
