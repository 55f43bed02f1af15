-- Returns the number of rows in a message, or nil if it must be claimed alone. `batch_rows` is counted for a batch_predict
-- message of a stock client, which does not say its number of rows.
-- The text is searched, not decoded, because cjson raises on hostile input. `"task":` with bare quotes cannot occur
-- inside a JSON string, so it is always a key. A message that repeats the key at a deeper level gets a wrong number, and
-- only ends up in a larger or smaller batch than it should. The worker decodes the message and decides.
local function rows_of(raw, together, batch_rows)
  local _, colon = raw:find('"task":', 1, true)
  local task = colon and raw:match('^%s*"([^"]*)"', colon + 1)
  if not task or not together[task] then
    return nil
  end
  _, colon = raw:find('"mlq_rows":', 1, true)
  local rows = colon and tonumber(raw:match('^%s*(%d+)', colon + 1))
  return math.max(1, rows or task:sub(-13) == 'batch_predict' and batch_rows or 1)
end
