#!lua flags=allow-oom
-- Adds changes to the log, sends them around, and tells who has to apply them.
-- KEYS[1] the registry
-- KEYS[2] its log
-- ARGV[1] the server's run; "" for any, where it is not known
-- ARGV[2] how many entries are kept
-- ARGV[3] the channel of news
-- ARGV[4...] the changes, 256 at most: id of the token, then its revision (8 bytes, big-endian)
-- Reply   the registry as it stands now, fields and values; nothing where this run keeps none
-- Atomic, because whoever gets a lease next must find the entries in the log, and whoever got one before
--         must be among those that are waited for.
local head = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'last')
if not head[1] or (ARGV[1] ~= '' and head[1] ~= ARGV[1]) then
  return {}
end
local last = head[3] + #ARGV - 3
if #ARGV > 3 then
  redis.call('RPUSH', KEYS[2], unpack(ARGV, 4))
  redis.call('LTRIM', KEYS[2], -ARGV[2], -1)
  redis.call('HSET', KEYS[1], 'last', string.format('%.0f', last))
  -- Only that it is known sooner depends on it.
  redis.pcall('PUBLISH', ARGV[3], head[2] .. struct.pack('>I8', last) .. table.concat(ARGV, '', 4))
end
return redis.call('HGETALL', KEYS[1])
