-- Count parts of chords as Celery does, so that Celery's own workers and clients can take part. The group's key has these
-- suffixes: `.j` values of the parts, `.t` number of parts added later, `.s` initial number of parts (written when all
-- have been sent), and from Celery 5.7 on `.d` parts that are counted, `.c` the worker that publishes the body.
-- A part's arguments: db, group's key, task, index, value, known_by, ordered, seconds to keep, seconds to keep the
-- group, body ('', 'published' or 'failed').

-- The value of the same part from an earlier run. A worker that counts a part before it records the part's end, as
-- Celery and earlier versions of mlq do, may die in between; then the part runs again, and must not be counted twice.
-- The index does not identify a part: parts that are added later, or are groups of their own, share one.
local function counted_value(part)
  local values, counted = part.key .. '.j', part.key .. '.d'
  local size = redis.call(part.ordered and 'ZCARD' or 'LLEN', values)
  local is_counted = redis.call('SISMEMBER', counted, part.task .. ':' .. part.index) == 1
  if is_counted or size > redis.call('SCARD', counted) then -- otherwise each value has its member in `.d`
    local kept = part.ordered and redis.call('ZRANGEBYSCORE', values, part.index, part.index)
      or redis.call('LRANGE', values, 0, -1)
    for _, value in ipairs(kept) do
      if value:sub(1, #part.known_by) == part.known_by then
        return value, true, size
      end
    end
  end
  return nil, is_counted, size
end

local function read_part(at)
  local db, key, task, index, value, known_by, ordered, keep_s, keep_group_s, body = unpack(ARGV, at, at + 9)
  return {
    db = db, key = key, task = task, index = index, value = value, known_by = known_by, ordered = ordered == '1',
    keep_s = tonumber(keep_s), keep_group_s = tonumber(keep_group_s), body = body ~= '' and body,
  }
end

-- Returns true if the chord is complete with this part; `more` other parts of it are counted in the same step.
local function is_last(part, size, more, grown)
  local at_first = tonumber(redis.call('GET', part.key .. '.s') or nil)
  if not at_first then
    return false
  end
  local expected = at_first + (tonumber(redis.call('GET', part.key .. '.t') or nil) or 0) + grown
  -- A part that was counted before is the last only if no other part has reserved the chord in `.c` to publish the body.
  local publisher = redis.call('GET', part.key .. '.c')
  return size + more == expected and (part.is_new or not publisher or publisher == part.task .. ':' .. part.index)
end

-- Fill `parts` without writing anything; return the script's reply if a body is missing or out of place.
local function weigh_parts(parts, here, additions_at, parts_at, ends_at)
  local grown, more, verdict = {}, {}, nil
  for at = additions_at, parts_at - 1, 2 do
    local name = ARGV[at] .. ARGV[at + 1]
    grown[name] = (grown[name] or 0) + 1
  end
  for at = parts_at, ends_at - 1, 10 do
    local part = read_part(at)
    local name = part.db .. part.key
    redis.call('SELECT', part.db)
    local value, is_counted, size = counted_value(part)
    part.old, part.is_new = value, not is_counted
    more[name] = (more[name] or 0) + (part.is_new and 1 or 0)
    parts[#parts + 1] = part
    local last = is_last(part, size, more[name], grown[name] or 0)
    if last ~= (part.body and true or false) and not verdict then
      verdict = last and 1 + #parts or -#parts
    end
  end
  redis.call('SELECT', here)
  return verdict
end

local function keep(part)
  local values = part.key .. '.j'
  if part.ordered then
    if part.old then
      redis.call('ZREM', values, part.old) -- of two runs of a part, the recorded one counts
    end
    if part.old or part.is_new then
      redis.call('ZADD', values, part.index, part.value)
    end
  else
    if part.old then
      redis.call('LREM', values, 1, part.old)
    end
    if part.old or part.is_new then
      redis.call('RPUSH', values, part.value)
    end
  end
  redis.call('SADD', part.key .. '.d', part.task .. ':' .. part.index)
  if part.keep_s > 0 then
    for _, suffix in ipairs({ '.j', '.t', '.s', '.d' }) do
      redis.call('EXPIRE', part.key .. suffix, part.keep_s)
    end
  end
  if part.keep_group_s > 0 then
    redis.call('EXPIRE', part.key, part.keep_group_s)
  end
end

local function count_parts(parts, here, additions_at, parts_at)
  for at = additions_at, parts_at - 1, 2 do
    redis.call('SELECT', ARGV[at])
    redis.call('INCR', ARGV[at + 1] .. '.t')
  end
  for _, part in ipairs(parts) do
    redis.call('SELECT', part.db)
    local key = part.key
    if part.body == 'published' then
      redis.call('DEL', key .. '.j', key .. '.t', key .. '.s', key .. '.d', key .. '.c')
    else
      keep(part)
    end
    if part.body == 'failed' then -- the values of its parts stay, for clients that look for the parts that succeeded
      redis.call('DEL', key .. '.t', key .. '.s', key .. '.c')
    end
  end
  redis.call('SELECT', here)
end
