-- A message is known by the digest of its bytes, which a crash does not change: nothing has to be decoded,
-- and nothing that a message says of itself can pass the blame to another. Digests cost time, so they are only
-- made while something is suspected at all. Where the key is of another type nothing is suspected: see claim.lua.
local function crash_counter(crashes, misplaced)
  if redis.call('EXISTS', crashes) == 0 then
    return function() end
  end
  if type(redis.pcall('HLEN', crashes)) == 'table' then
    if misplaced then
      misplaced[#misplaced + 1] = crashes
    end
    return function() end
  end
  return function(raw)
    return tonumber(redis.call('HGET', crashes, redis.sha1hex(raw)))
  end
end
