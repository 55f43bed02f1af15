-- Claim messages for a worker, queue by queue: each is popped and recorded as the worker's claim in the same call.
-- KEYS: leases claims serial crashes paused watches bell, then as many keys for each queue, most urgent first
-- ARGV: wid call rows bytes batch_rows watch_ms (0: not idle), number of queues, number of tasks; queues, tasks, ids it
-- holds
-- Replies {'FENCED'}, {'WATCH'}, {'WAIT'}, or {'TAKEN', {{id, record, crashes or -1}, ...}}, followed by the keys that
-- have an unexpected type. The script works without those keys: no queue is paused, no message is a suspect, every idle
-- worker watches, and the other queues are served. It fails if leases, claims or serial have an unexpected type.
-- with: clock record crash weigh watch lost take

local leases, claims, serial, crashes, paused, watches, bell = unpack(KEYS, 1, 7)
local wid, call, rows, bytes, batch_rows = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local watch_ms = ARGV[6]
local queues_end = 8 + ARGV[7]
local tasks_end = queues_end + ARGV[8]

local function set_of(words, first, last)
  local set = {}
  for i = first, last do
    set[words[i]] = true
  end
  return set
end

-- A worker without a lease gets no work: its claims were given back, or are being given back (deadline 0, see reap.lua).
local deadline = redis.call('ZSCORE', leases, wid)
if not deadline or deadline == '0' then
  return { 'FENCED' }
end

-- After a lost reply the script returns the same messages and no others, so a call that the client or the network
-- repeats claims nothing more than the first call did.
local lost = lost_claims(claims, crashes, set_of(ARGV, tasks_end + 1, #ARGV), rows, bytes)
if #lost > 0 then
  return { 'TAKEN', lost }
end

local misplaced = {}
local names = redis.pcall('SMEMBERS', paused)
if names.err then
  names, misplaced[1] = {}, paused
end
local stopped, keys_a_queue, open = set_of(names, 1, #names), (#KEYS - 7) / ARGV[7], {}
for i = 8, #KEYS do
  if not stopped[ARGV[8 + math.ceil((i - 7) / keys_a_queue)]] then
    open[#open + 1] = KEYS[i]
  end
end

local function lists_with_work()
  return #open > 0 and redis.call('EXISTS', unpack(open)) or 0
end

local taken, full, lists = {}, false, lists_with_work()
if lists > 0 then
  redis.call('HDEL', claims, '') -- the first write, which changes nothing: see script.py on full memory
  -- One serial more than there is room for, because a message that turns out not to fit is recorded for a moment, too.
  local last = redis.call('INCRBY', serial, rows + 1) - rows - 1
  -- An id holds the number of the call and the serial. The number stays unique if the server loses its last second of
  -- writes, and the serial if a call arrives twice. So no id stands for two messages.
  local function new_id()
    last = last + 1
    return call .. '-' .. last
  end
  local room = { rows = rows, bytes = bytes, batch_rows = batch_rows, alone = tasks_end == #ARGV }
  taken, full = take(open, lists, claims, crashes, new_id, room, set_of(ARGV, queues_end + 1, tasks_end), misplaced)
end

if #taken > 0 and leave_watch(watches, bell, wid) or full and lists_with_work() > 0 then
  ring(bell)
end
if #taken > 0 then
  return { 'TAKEN', taken, unpack(misplaced) }
end
local watching = watch_ms ~= '0' and take_watch(watches, bell, wid, watch_ms, misplaced)
return { watching and 'WATCH' or 'WAIT', unpack(misplaced) }
