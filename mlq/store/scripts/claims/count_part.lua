-- Count a part of a chord before its claim ends, where results and claims are on different servers.
-- KEYS: -   ARGV: this database, the part's ten arguments (see chord.lua)   Replies 1 if the part is the last, or 0.
-- The part's name in `.c` reserves the chord for it: if its worker dies before the body is published, the part runs
-- again and is the last again. No other part that runs again becomes the last.
-- with: chord

redis.call('SELECT', ARGV[2])
redis.call('SREM', ARGV[3] .. '.d', '') -- the first write, which changes nothing: see script.py on full memory
redis.call('SELECT', ARGV[1])
local parts = {}
local verdict = weigh_parts(parts, ARGV[1], 2, 2, #ARGV)
count_parts(parts, ARGV[1], 2, 2)
if not verdict then
  return 0
end
local publisher = parts[1].key .. '.c'
redis.call('SELECT', parts[1].db)
redis.call('SET', publisher, parts[1].task .. ':' .. parts[1].index)
if parts[1].keep_s > 0 then
  redis.call('EXPIRE', publisher, parts[1].keep_s)
end
redis.call('SELECT', ARGV[1])
return 1
