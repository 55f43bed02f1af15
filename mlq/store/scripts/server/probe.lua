-- Try every command that the scripts use, on a key that no other code uses, and leave nothing behind.
--
-- KEYS  1 the key · 2 the key and channel of a result for which no client waits
-- Replies pairs: a command that was refused, and the server's error.
--
-- The first command is a write that changes nothing: after it, a server whose memory is full refuses nothing here.

local key = KEYS[1]
local harmless = {
    {'HDEL', key, ''}, {'DEL', key}, {'EXISTS', key}, {'EXPIRE', key, 1}, {'GET', key}, {'GETBIT', key, 0},
    {'HEXISTS', key, ''}, {'HGET', key, ''}, {'HGETALL', key}, {'HKEYS', key}, {'HMGET', key, ''}, {'HVALS', key},
    {'LLEN', key}, {'PERSIST', key}, {'RPOP', key}, {'SMEMBERS', key}, {'SREM', key, ''}, {'TIME'}, {'TYPE', key},
    {'XDEL', key, '0-1'}, {'ZCARD', key}, {'ZCOUNT', key, 0, 1}, {'ZRANGE', key, 0, 0}, {'ZREM', key, ''},
    {'ZRANGEBYSCORE', key, 0, 1}, {'ZREMRANGEBYSCORE', key, 0, 1}, {'ZREVRANGEBYSCORE', key, 1, 0},
    {'ZSCORE', key, ''}, {'PUBLISH', KEYS[2], ''},
}
local growing = {
    {'HINCRBY', key, 'f', 1}, {'HSET', key, 'f', 1}, {'HSETNX', key, 'f', 1}, {'INCRBY', key, 1}, {'LPUSH', key, 1},
    {'RPUSH', key, 1}, {'SADD', key, 1}, {'SET', key, 1}, {'SETBIT', key, 0, 1}, {'XADD', key, '*', 'f', 1},
    {'ZADD', key, 1, 'm'},
}
local refused = {}

local function try(words)
    local reply = redis.pcall(unpack(words))
    if type(reply) == 'table' and reply.err then
        refused[#refused + 1] = words[1]
        refused[#refused + 1] = reply.err
    end
end

for _, words in ipairs(harmless) do try(words) end
for _, words in ipairs(growing) do
    try(words)
    redis.pcall('DEL', key)
end
return refused
