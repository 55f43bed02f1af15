-- Set the number of workers that autoscalers should run.   KEYS: leader want   ARGV: id want
-- Only the leader may set it: a former leader that hung must not overrule its successor. Replies 1 or 0.

redis.call('PERSIST', KEYS[1]) -- the first write, which changes nothing: see script.py on full memory
local leader = (redis.call('GET', KEYS[1]) or ''):match('^%d+ (.*)$')
if leader ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
