-- Find the first message that holds one of some texts, and look at no more of them than is said.
-- KEYS: a list or a zset, to be read from `from` on; or a hash, of which fields are named; or dead letters
-- ARGV: PAGE | FIELDS | LETTERS, from, how many, how many bytes, number of texts, text ..., field ...
-- Replies {how many were looked at, message or ''}. A list is read from the end that is served first.
-- A few are read at a time: they may be large, and all that is read is in the script's memory at once.

local how, from, most, most_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local texts_end, at_a_time = 5 + tonumber(ARGV[5]), 8
local kind = redis.call('TYPE', KEYS[1]).ok

local function read(first, number)
  if how == 'FIELDS' then
    local last = math.min(texts_end + first + number, #ARGV)
    return last > texts_end + first and redis.call('HMGET', KEYS[1], unpack(ARGV, texts_end + first + 1, last)) or {}
  elseif how == 'LETTERS' then
    local found = {}
    for i = first + 1, math.min(first + number, #KEYS) do
      found[#found + 1] = redis.call('HGET', KEYS[i], 'raw')
    end
    return found
  elseif kind == 'list' then
    local found = redis.call('LRANGE', KEYS[1], -(first + number), -(first + 1))
    for i = 1, math.floor(#found / 2) do
      found[i], found[#found + 1 - i] = found[#found + 1 - i], found[i]
    end
    return found
  elseif kind == 'zset' then
    return redis.call('ZRANGE', KEYS[1], first, first + number - 1)
  end
  return {}
end

local looked, bytes = 0, 0
while looked < most and bytes < most_bytes do
  local page = read(from + looked, math.min(at_a_time, most - looked))
  for _, message in ipairs(page) do
    looked = looked + 1
    for i = 6, texts_end do
      if message and message:find(ARGV[i], 1, true) then
        return { looked, message }
      end
    end
    bytes = bytes + (message and #message or 0)
  end
  if #page == 0 then
    break
  end
end
return { looked, '' }
