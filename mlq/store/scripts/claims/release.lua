-- Give claims back to the queue keys from which they came.
-- KEYS: claims   ARGV: side (head: served next; tail: served last), claim ids (none: all)
-- Replies the number of claims given back.
-- with: record give_back

redis.call('HDEL', KEYS[1], '') -- the first write, which changes nothing: see script.py on full memory
local side, ids = ARGV[1], {}
for i = 2, #ARGV do
  ids[i - 1] = ARGV[i]
end
if #ids == 0 then
  ids = redis.call('HKEYS', KEYS[1])
end
return give_back(KEYS[1], ids, side)
