-- A message is known by the digest of its bytes, which a crash does not change: nothing has to be decoded,
-- and nothing that a message says of itself can pass the blame to another. Digests cost time, so they are only
-- made while something is suspected at all.
local function crash_counter(crashes)
  if redis.call('EXISTS', crashes) == 0 then
    return function() end
  end
  return function(raw)
    return tonumber(redis.call('HGET', crashes, redis.sha1hex(raw)))
  end
end
