-- Answer a claim: its result, its successors, and last the claim itself.
-- KEYS: claims crashes   ARGV: claim_id digest, answer (6 words, see answer.lua), queue_key raw ...
-- Replies 1, or 0 if the claim is gone: then nothing else has happened, and what is stored stays.
-- The HEXISTS is the fence. The HDEL comes last, because scripts are not rolled back: whatever stops this one
-- half-way leaves the message with its claim, to be run twice rather than lost.
-- with: filing answer

local claims, crashes, id, digest = KEYS[1], KEYS[2], ARGV[1], ARGV[2]

redis.call('HDEL', claims, '') -- the first write, which changes nothing: see script.py on full memory
if redis.call('HEXISTS', claims, id) == 0 then
  return 0
end
for i = 9, #ARGV, 2 do
  local kind = redis.call('TYPE', ARGV[i]).ok
  if kind ~= 'none' and kind ~= 'list' then
    return redis.error_reply('WRONGTYPE a successor goes to ' .. ARGV[i] .. ', which is a ' .. kind)
  end
end
answer(3)
for i = 9, #ARGV, 2 do
  redis.call('LPUSH', ARGV[i], ARGV[i + 1])
end
if digest ~= '' then
  redis.call('HDEL', crashes, digest)
end
redis.call('HDEL', claims, id)
return 1
