-- Move a claim to the delay list.   KEYS: claims delays delayed   ARGV: claim_id until_ms
-- Replies 1, or 0 if the claim is gone. The id makes the member unique: two equal messages are two.
-- with: record

redis.call('HDEL', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then
  return 0
end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1] .. ' ' .. record)
local _, key = unframe(record)
redis.call('HINCRBY', KEYS[3], key, 1)
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
