-- Store the result of a job's chunk.   KEYS: ends   ARGV: payload, seconds to keep, filed (see filing.lua)
-- with: filing

redis.call('XDEL', KEYS[1], '0-0') -- the first write, which changes nothing: see script.py on full memory
file(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
return 1
