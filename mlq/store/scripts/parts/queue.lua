-- Returns the error to reply if no message may be pushed to a key; nil if it may. The name may come from a message.
-- The prefixes are those of keys that are not queues (see mlq/protocol/reserved_names.py).
local function refuse_key(key)
  for _, prefix in ipairs({ 'mlq:', 'unacked', '_kombu', 'celery-task-meta-', 'celery-taskset-meta-' }) do
    if key:sub(1, #prefix) == prefix then
      return redis.error_reply('RESERVED a message is to go to ' .. key .. ', and names that begin with ' .. prefix
        .. ' are reserved for keys that hold no queue')
    end
  end
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= 'list' then
    return redis.error_reply('WRONGTYPE a message is to go to ' .. key .. ', which is a ' .. kind .. ' and no queue')
  end
end
