-- File the end of a job's chunk: once, however often the chunk ran. The bit decides.
-- `filed` is "<chunk> <rows answered> <rows failed>"; an entry of the stream holds the chunk and its end.
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
