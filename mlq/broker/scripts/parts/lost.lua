-- What is filed under a worker and not in its hands was in a reply that never arrived. Oldest first, and no more
-- bytes at once than a claim may take: the rest comes with the next call.
local function lost_claims(claims, crashes, held, bytes)
  local ids, lost, crashes_of = {}, {}, crash_counter(crashes)
  for _, id in ipairs(redis.call('HKEYS', claims)) do
    if not held[id] then
      ids[#ids + 1] = id
    end
  end
  table.sort(ids, older)
  for i, id in ipairs(ids) do
    if bytes <= 0 then
      break
    end
    local record = redis.call('HGET', claims, id)
    local _, _, raw = unframe(record)
    lost[i] = { id, record, crashes_of(raw) or -1 }
    bytes = bytes - #raw
  end
  return lost
end
