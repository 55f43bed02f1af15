-- Store the result of a job's chunk once, however often the chunk ran: the chunk's bit shows that it is stored.
-- `filed` is "<chunk> <rows that succeeded> <rows that failed>"; an entry of the stream has the chunk and its result.
local function file(key, payload, seconds, filed)
  local chunk, ok, failed = filed:match('^(%d+) (%d+) (%d+)$')
  local done, tally = key .. ':done', key .. ':tally'
  if redis.call('GETBIT', done, chunk) == 1 then
    return
  end
  redis.call('XADD', key, '*', 'chunk', chunk, 'end', payload)
  redis.call('HINCRBY', tally, 'ok', ok)
  redis.call('HINCRBY', tally, 'failed', failed)
  redis.call('SETBIT', done, chunk, 1)
  for _, name in ipairs({ key, done, tally }) do
    redis.call('EXPIRE', name, seconds)
  end
end
