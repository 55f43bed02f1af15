-- Move a claim to the delay list.   KEYS: claims delays delayed bytes   ARGV: claim_id until_ms, most messages and bytes
-- Replies 1, 0 if the claim is gone, or -1 if the list has reached its limit: then nothing was changed.
-- The claim's id makes the member unique, so two equal messages are two members.
-- Older versions of mlq without limits count no bytes, so the count starts again at 0 whenever no message is left.
-- with: record

redis.call('HDEL', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then
  return 0
end
local waiting = redis.call('ZCARD', KEYS[2])
if waiting == 0 then
  redis.call('DEL', KEYS[4])
end
local member = ARGV[1] .. ' ' .. record
local bytes = redis.pcall('GET', KEYS[4])
bytes = type(bytes) == 'string' and tonumber(bytes) or 0
if waiting >= tonumber(ARGV[3]) or bytes + #member > tonumber(ARGV[4]) then
  return -1
end
redis.call('ZADD', KEYS[2], ARGV[2], member)
redis.pcall('INCRBY', KEYS[4], #member)
local _, key = unframe(record)
redis.call('HINCRBY', KEYS[3], key, 1)
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
