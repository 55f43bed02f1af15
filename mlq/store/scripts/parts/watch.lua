-- One idle worker of a group (the workers that serve the same queues) watches the queues; the others wait at the bell.
-- `watches` maps each group's bell to "<until ms> <wid>". The watcher confirms its role with each claim; if it hangs, the
-- role expires, and the next idle worker that claims becomes the watcher.
-- If the key has another type, every idle worker watches: see claim.lua.
local function watcher(watches, bell)
  local entry = redis.pcall('HGET', watches, bell)
  entry = type(entry) == 'string' and entry or ''
  local until_ms, wid = entry:match('^(%d+) (.*)$')
  return wid, tonumber(until_ms)
end

local function take_watch(watches, bell, wid, term_ms, misplaced)
  local holder, until_ms = watcher(watches, bell)
  if holder and holder ~= wid and now_ms() < until_ms then
    return false
  end
  local cleared = redis.pcall('HDEL', watches, bell) -- the first write: a full server refuses HSET before it
  if type(cleared) ~= 'number' then
    misplaced[#misplaced + 1] = watches
    return true
  end
  redis.call('HSET', watches, bell, string.format('%d %s', now_ms() + term_ms, wid))
  return true
end

-- One token is enough: the worker that it wakes rings again if messages are left. The token may be lost, because idle
-- workers also claim regularly.
local function ring(bell)
  if redis.call('EXISTS', bell) == 0 then
    redis.call('LPUSH', bell, '1')
  end
end

-- Returns true if this worker was the watcher: then another worker must be woken to watch.
local function leave_watch(watches, bell, wid)
  return watcher(watches, bell) == wid and redis.call('HDEL', watches, bell) == 1
end
