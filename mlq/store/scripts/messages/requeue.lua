-- Put the unchanged message of a dead letter back on its queue, at the tail.
-- KEYS: dead letter bytes   ARGV: id, this database, the result's (of the same server), key of its result or ''
-- Its stored failure is deleted, because the task is waiting again. Replies 1, or 0 if the letter is gone or not whole.
-- with: queue letter_bytes

redis.call('ZREM', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
local raw, queue_key = unpack(redis.call('HMGET', KEYS[2], 'raw', 'queue_key'))
if not raw or redis.call('HEXISTS', KEYS[2], 'bytes') == 1 then
  return 0
end
local refusal = refuse_key(queue_key)
if refusal then
  return refusal
end
redis.call('LPUSH', queue_key, raw)
if ARGV[4] ~= '' then
  redis.call('SELECT', ARGV[3])
  redis.call('DEL', ARGV[4])
  redis.call('SELECT', ARGV[2])
end
-- Last: if the script is stopped half-way, the message may be queued twice, but it is not lost.
forget_letter(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
return 1
