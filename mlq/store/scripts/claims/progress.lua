-- Store an intermediate state of a task (STARTED, RETRY, one of its own) while the worker has the claim.
-- KEYS: claims   ARGV: claim_id, answer (6 arguments, see answer.lua)
-- Replies 1, or 0 if the claim is gone.
-- with: filing answer

redis.call('HDEL', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
answer(2)
return 1
