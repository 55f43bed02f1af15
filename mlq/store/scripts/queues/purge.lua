-- Delete messages from a list, and their crashes.   KEYS: list crashes   ARGV: most messages
-- Replies the messages, because the caller must store a result for each that belongs to a job.

redis.call('HDEL', KEYS[2], '') -- the first write, which changes nothing: see script.py on full memory
local dropped, suspects = {}, redis.call('EXISTS', KEYS[2]) == 1
for i = 1, ARGV[1] do
  local raw = redis.call('RPOP', KEYS[1])
  if not raw then
    break
  end
  dropped[i] = raw
  if suspects then
    redis.call('HDEL', KEYS[2], redis.sha1hex(raw))
  end
end
return dropped
