-- Tell from which queue keys the messages came that workers hold; the messages themselves stay here.
-- KEYS: claims of one worker each   Replies {key, how many, ...}.
-- with: record

local held, keys = {}, {}
for _, claims in ipairs(KEYS) do
  for _, record in ipairs(redis.call('HVALS', claims)) do
    local _, key = unframe(record)
    if not held[key] then
      keys[#keys + 1] = key
    end
    held[key] = (held[key] or 0) + 1
  end
end

local reply = {}
for _, key in ipairs(keys) do
  reply[#reply + 1] = key
  reply[#reply + 1] = held[key]
end
return reply
