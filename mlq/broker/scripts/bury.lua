-- Move a claim to the dead letters, and answer it where its task is known.
-- KEYS: claims crashes dead letter   ARGV: claim_id, answer (6 words, see answer.lua), field value ...
-- Replies 1, or 0 if the claim is gone.
-- with: clock record crash letter filing answer

local claims, crashes, dead, letter = unpack(KEYS)

redis.call('HDEL', claims, '') -- the first write, which changes nothing: see script.py on full memory
local record = redis.call('HGET', claims, ARGV[1])
if not record then
  return 0
end
answer(2)
file_letter(dead, letter, crashes, ARGV[1], record, 8)
redis.call('HDEL', claims, ARGV[1])
return 1
