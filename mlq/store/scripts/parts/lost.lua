-- Claims that are recorded for a worker but unknown to it: their reply never arrived. The oldest first.
local function lost_ids(claims, held)
  local ids = {}
  for _, id in ipairs(redis.call('HKEYS', claims)) do
    if not held[id] then
      ids[#ids + 1] = id
    end
  end
  table.sort(ids, older)
  return ids
end

-- Returns at least one message, and otherwise no more messages and bytes than one call may claim; the next call returns
-- the rest. If the reply was lost because of its size, the caller then asks for less.
local function lost_claims(claims, crashes, held, most, bytes)
  local lost, crashes_of = {}, crash_counter(crashes)
  for i, id in ipairs(lost_ids(claims, held)) do
    local record = redis.call('HGET', claims, id)
    local _, _, raw = unframe(record)
    bytes = bytes - #raw
    if i > 1 and (i > most or bytes < 0) then
      break
    end
    lost[i] = { id, record, crashes_of(raw) or -1 }
  end
  return lost
end
