-- Write the dead letter of a claimed message. The circumstances are the pairs of ARGV from `first` on.
-- With `may_cut` the message is kept whole only within limits: up to 32 MiB, which is what a worker reads, and up to
-- 1 GiB of dead letters in all. Beyond them only its ends are kept, and `bytes` is its size. A caller that must find the
-- task's id in the message later does not set `may_cut`.
local LARGEST, LARGEST_IN_ALL, END = 32 * 2^20, 2^30, 4096

local function file_letter(dead, letter, crashes, id, record, first, bytes_key, may_cut)
  local claimed_at, key, raw = unframe(record)
  local dead_lettered_at, crashed = now_ms(), crash_counter(crashes)(raw)
  local kept = raw
  if may_cut and #raw > 2 * END and (#raw > LARGEST or letter_bytes(dead, bytes_key) + #raw > LARGEST_IN_ALL) then
    kept = raw:sub(1, END) .. raw:sub(-END)
    redis.call('HSET', letter, 'bytes', #raw)
  end
  redis.call('HSET', letter, 'raw', kept, 'queue_key', key, 'crashes', crashed or 0, 'kept', #kept)
  redis.call('HSET', letter, 'claimed_at_ms', claimed_at, 'buried_at_ms', dead_lettered_at)
  for i = first, #ARGV, 2 do
    redis.call('HSET', letter, ARGV[i], ARGV[i + 1])
  end
  count_letter(dead, bytes_key, #kept)
  redis.call('ZADD', dead, dead_lettered_at, id)
  if crashed then
    redis.call('HDEL', crashes, redis.sha1hex(raw))
  end
end
