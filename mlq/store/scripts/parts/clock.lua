-- The server's clock in milliseconds. All deadlines use it, so none depends on the clock of a client.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
