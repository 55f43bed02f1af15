-- Become the sender of a job, and get its token.   KEYS: job   ARGV: sender, a new token
-- An earlier sender is refused from now on (send.lua). Replies the token; a job keeps its first token.
-- `token_sender` is the sender that has the token: an older version of mlq that takes over writes only `sender`.
-- From the chunk `token_from` on, all chunks carry the token.

local previous, token, issued_to, next = unpack(redis.call('HMGET', KEYS[1], 'sender', 'token', 'token_sender', 'next'))
if not token or previous ~= issued_to then
  token = token or ARGV[2]
  redis.call('HSET', KEYS[1], 'token', token, 'token_from', next or 0)
end
redis.call('HSET', KEYS[1], 'sender', ARGV[1], 'alive', ARGV[1], 'token_sender', ARGV[1])
return token
