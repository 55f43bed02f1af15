-- List a portion of a worker's claims with the queue key of each; the messages themselves are not returned.
-- KEYS: claims   ARGV: cursor (0 at first), approximate number
-- Replies {next cursor (0 at the end), id, queue key, ...}.
-- with: record

local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local reply = { page[1] }
for i = 1, #page[2], 2 do
  local _, key = unframe(page[2][i + 1])
  reply[#reply + 1] = page[2][i]
  reply[#reply + 1] = key
end
return reply
