-- Pop and record messages, key by key, until `room` is used up: {rows, bytes, alone = true if a suspect may be claimed,
-- batch_rows: see weigh.lua}.
-- A message is recorded as soon as it is popped, and examined after that. Nothing can fail between the two, because the
-- caller has written to `claims` already.
-- `lists`: number of keys that are not empty; the script stops after the last of them.
-- Keys that are not lists are added to `misplaced`.
-- Returns the claims, and true if it stopped before the keys were empty. One call claims at most MOST messages, however
-- large a batch may be: the call blocks the server, and meanwhile no lease can be renewed.
local MOST = 4096

local function take(keys, lists, claims, crashes, new_id, room, together, misplaced)
  local taken, now, crashes_of = {}, now_ms(), crash_counter(crashes, misplaced)

  local function fits(rows, suspect, size)
    if #taken == 0 then
      return room.alone or not suspect -- of any size, because no other worker could claim it, either
    end
    return rows and not suspect and rows <= room.rows and size <= room.bytes
  end

  for _, key in ipairs(keys) do
    local raw = redis.pcall('RPOP', key)
    if type(raw) == 'table' then -- the key is not a list: serve the other queues
      misplaced[#misplaced + 1] = key
      raw = false
    end
    local frame = raw and frame_of(now, key)
    lists = raw and lists - 1 or lists
    while raw do
      local id, record = new_id(), frame .. raw
      redis.call('HSET', claims, id, record)
      local rows, crashed = rows_of(raw, together, room.batch_rows), crashes_of(raw)
      if not fits(rows, crashed, #raw) then
        redis.call('RPUSH', key, raw)
        redis.call('HDEL', claims, id)
        return taken, true
      end
      taken[#taken + 1] = { id, record, crashed or -1 }
      room.rows, room.bytes = room.rows - (rows or room.rows), room.bytes - #raw
      if crashed or room.rows <= 0 or room.bytes <= 0 or #taken >= MOST then
        return taken, true
      end
      raw = redis.call('RPOP', key)
    end
    if lists == 0 then
      break
    end
  end
  return taken, false
end
