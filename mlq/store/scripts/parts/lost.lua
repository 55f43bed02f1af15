-- What is filed under a worker and not in its hands was in a reply that never arrived. Oldest first.
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

-- No more messages and bytes at once than a claim may take, but one at least: the rest comes with the next call. A
-- reply may have been lost for its size, and then less is asked for.
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
