-- What is filed of a message: when it was taken, from which queue key, and its bytes as they were.
-- The key's length is written before it, so nothing that a key or a message holds can be taken for the frame.
local function frame_of(at_ms, key)
  return string.format('%d %d ', at_ms, #key) .. key -- followed by the bytes
end

local function unframe(record)
  local at_ms, length, first = record:match('^(%d+) (%d+) ()')
  local after = first + length
  return tonumber(at_ms), record:sub(first, after - 1), record:sub(after)
end

-- A claim id ends in a serial number that only grows: it tells which of two was taken first.
local function older(one, other)
  return tonumber(one:match('%d+$')) < tonumber(other:match('%d+$'))
end
