-- Send a chunk of a job and record it, once.   KEYS: job chunks queue_key
-- ARGV: sender, chunk, record, input rows up to its end, rows in it that are not sent, seconds to keep, message or ''
-- Replies SENT, AGAIN (it was sent before; a client that lost the reply repeats the call), EARLY (the chunk before it
-- was not sent), or TAKEN (another process submits this job now). A number never stands for two chunks.
-- This script does not begin with a write that changes nothing: a full server must refuse it, and accept no new work.
-- with: queue

local job, chunks, queue = unpack(KEYS)
local sender, chunk, record, rows, unsent, seconds, message = unpack(ARGV)

local known = redis.call('HMGET', job, 'sender', 'next')
if known[1] ~= sender then
  return 'TAKEN'
end
local next = tonumber(known[2] or 0)
if next ~= tonumber(chunk) then
  return next > tonumber(chunk) and 'AGAIN' or 'EARLY'
end
local refusal = message ~= '' and refuse_key(queue)
if refusal then
  return refusal
end
redis.call('HSET', chunks, chunk, record)
if message ~= '' then
  redis.call('LPUSH', queue, message)
  redis.call('HINCRBY', job, 'tasks', 1)
end
redis.call('HINCRBY', job, 'unsent', unsent)
redis.call('HSET', job, 'next', chunk + 1, 'taken', rows)
redis.call('EXPIRE', job, seconds)
redis.call('EXPIRE', chunks, seconds)
return 'SENT'
