-- Store the failure of a message that is a dead letter already: a reaper dead-letters it before it reads the task's id.
-- KEYS: letter   ARGV: answer (6 arguments, see answer.lua)
-- Replies 1, or 0 if there is no such letter or its failure is stored already.
-- with: filing answer

redis.call('HDEL', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HEXISTS', KEYS[1], 'answered') == 1 then
  return 0
end
answer(1)
redis.call('HSET', KEYS[1], 'answered', '1')
return 1
