-- Crashes are counted by the digest of a message's bytes, which a crash does not change: nothing has to be decoded, and
-- no content of a message can shift the blame to another message. Digests take time, so they are only calculated while
-- there is any suspect. If the key has another type, no message is a suspect: see claim.lua.
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
