-- Find the first message that contains one of the given texts, among a limited number of messages.
-- KEYS: a list or a zset, read from `from` on (PAGE); a hash, of which the fields are given (FIELDS); or dead letters
-- ARGV: PAGE | FIELDS | LETTERS, from, most messages, most bytes, number of texts, text ..., field ...
-- Replies {number of messages searched, message or ''}. A list is read from the end that is served first.
-- Only a few are read at a time, because they may be large, and each read keeps its messages in the script's memory.

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
