-- Pop and file, key by key, until `room` is used up: {rows, bytes, alone = may a suspect be taken,
-- batch_rows = see weigh.lua}.
-- A message is filed the moment it is popped, and only then looked at: nothing can fail between the two, for
-- the caller has written to `claims` already.
-- `lists`: how many of the keys hold anything. Behind the last of them nothing is looked at.
-- Keys that hold no list are added to `misplaced`.
-- Replies the claims, and whether it stopped before the keys were empty. However large a batch may be, one call takes
-- no more than MOST messages: the server does nothing else meanwhile, not even renew a lease.
local MOST = 4096

local function take(keys, lists, claims, crashes, new_id, room, together, misplaced)
  local taken, now, crashes_of = {}, now_ms(), crash_counter(crashes, misplaced)

  local function fits(rows, suspect, size)
    if #taken == 0 then
      return room.alone or not suspect -- whatever its size: nobody else could take it, either
    end
    return rows and not suspect and rows <= room.rows and size <= room.bytes
  end

  for _, key in ipairs(keys) do
    local raw = redis.pcall('RPOP', key)
    if type(raw) == 'table' then -- the key is no list: the other queues are served
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
