-- Move a claim to the dead letters, and store its failure if its task is known.
-- KEYS: claims crashes dead letter bytes   ARGV: claim_id, answer (6 arguments, see answer.lua), field value ...
-- Replies 0 if the claim is gone; otherwise 1 + the number of old letters that were dropped, as 100,000 are kept.
-- with: clock record crash letter_bytes letter filing answer

local claims, crashes, dead, letter, bytes = unpack(KEYS)
local id, MOST, AT_ONCE = ARGV[1], 100000, 10

redis.call('HDEL', claims, '') -- the first write, which changes nothing: see script.py on full memory
local record = redis.call('HGET', claims, id)
if not record then
  return 0
end
answer(2)
file_letter(dead, letter, crashes, id, record, 8, bytes, true)
redis.call('HDEL', claims, id)

local dropped, letters = 0, letter:sub(1, -#id - 1)
while dropped < AT_ONCE and redis.call('ZCARD', dead) > MOST do
  local oldest = redis.call('ZRANGE', dead, 0, 0)[1]
  forget_letter(dead, letters .. oldest, bytes, oldest)
  dropped = dropped + 1
end
return 1 + dropped
