-- One idle worker of a group (those that serve the same queues) watches its queues; the rest wait at the bell.
-- `watches` maps each group's bell to "<until ms> <wid>". The watcher confirms its role whenever it looks
-- again by itself; if it is frozen the role runs out, and the next idle worker that looks takes it.
-- Where the key is of another type every idle worker watches: see claim.lua.
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
  local cleared = redis.pcall('HDEL', watches, bell) -- first write: an empty claim has made none, HSET is refused when full
  if type(cleared) ~= 'number' then
    misplaced[#misplaced + 1] = watches
    return true
  end
  redis.call('HSET', watches, bell, string.format('%d %s', now_ms() + term_ms, wid))
  return true
end

-- One token is enough: whoever it wakes rings again if messages are left. It may be lost: idle workers also
-- look by themselves.
local function ring(bell)
  if redis.call('EXISTS', bell) == 0 then
    redis.call('LPUSH', bell, '1')
  end
end

-- True if it was this worker's: then somebody else must be woken to watch.
local function leave_watch(watches, bell, wid)
  return watcher(watches, bell) == wid and redis.call('HDEL', watches, bell) == 1
end
