-- Counts the bytes of all dead letters' messages. Older versions of mlq without limits do not count, so the count starts
-- again at 0 whenever no letter is left. A key of another type counts as 0.
local function letter_bytes(dead, bytes_key)
  if redis.call('ZCARD', dead) == 0 then
    redis.call('DEL', bytes_key)
  end
  local count = redis.pcall('GET', bytes_key)
  return type(count) == 'string' and tonumber(count) or 0
end

local function count_letter(dead, bytes_key, bytes)
  letter_bytes(dead, bytes_key)
  redis.pcall('INCRBY', bytes_key, bytes)
end

local function forget_letter(dead, letter, bytes_key, id)
  local kept = tonumber(redis.call('HGET', letter, 'kept') or nil)
  redis.call('ZREM', dead, id)
  if kept then
    redis.pcall('DECRBY', bytes_key, math.min(kept, letter_bytes(dead, bytes_key)))
  end
  return redis.call('DEL', letter)
end
