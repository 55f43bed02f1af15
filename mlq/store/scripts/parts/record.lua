-- The record of a claim: the time of the claim, the queue key, and the bytes of the message.
-- The key's length is written before the key, so no content of a key or a message can be mistaken for the frame.
local function frame_of(at_ms, key)
  return string.format('%d %d ', at_ms, #key) .. key -- the message's bytes follow
end

local function unframe(record)
  local at_ms, length, first = record:match('^(%d+) (%d+) ()')
  local after = first + length
  return tonumber(at_ms), record:sub(first, after - 1), record:sub(after)
end

-- A claim id ends with a serial number that only grows: it shows which of two messages was claimed first.
local function older(one, other)
  return tonumber(one:match('%d+$')) < tonumber(other:match('%d+$'))
end
