-- Complete a claim: store its result, publish its successors, and end the claim last.
-- KEYS: claims crashes   ARGV: claim_id digest, number of answers, additions and parts; answers (6 arguments each, see
-- answer.lua), additions to chords (2) and parts of chords (10, see chord.lua), then queue_key raw ...
-- Replies 1, or 0 if the claim is gone, 1 + n if the n-th part is the last of its chord and its body is missing, or -n
-- if the n-th part has a body and is not the last. Unless the reply is 1, nothing was changed.
-- HEXISTS is the fence. HDEL comes last, because scripts are not rolled back: if the script is stopped half-way, the
-- claim remains, and the message runs twice instead of being lost.
-- with: queue filing answer chord

local claims, crashes, id, digest = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local additions_at = 6 + 6 * ARGV[3]
local parts_at = additions_at + 2 * ARGV[4]
local successors_at = parts_at + 10 * ARGV[5]

redis.call('HDEL', claims, '') -- the first write, which changes nothing: see script.py on full memory
if redis.call('HEXISTS', claims, id) == 0 then
  return 0
end
for i = successors_at, #ARGV, 2 do
  local refusal = refuse_key(ARGV[i])
  if refusal then
    return refusal
  end
end
local here, parts = ARGV[6], {}
if successors_at > additions_at then
  local verdict = weigh_parts(parts, here, additions_at, parts_at, successors_at)
  if verdict then
    return verdict
  end
end
for at = 6, additions_at - 1, 6 do
  answer(at)
end
if successors_at > additions_at then
  count_parts(parts, here, additions_at, parts_at)
end
for i = successors_at, #ARGV, 2 do
  redis.call('LPUSH', ARGV[i], ARGV[i + 1])
end
if digest ~= '' then
  redis.pcall('HDEL', crashes, digest) -- if the key has another type, there is nothing to delete
end
redis.call('HDEL', claims, id)
return 1
