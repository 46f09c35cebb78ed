#!lua flags=no-writes
-- Reads what stands at the ids of some tokens, and the store's time.
-- KEYS[1], KEYS[2] record of the first token, and its tenure if it is in a pool
-- KEYS[3...] the same of the others, 128 in all at most
-- ARGV[1] the time in microseconds since 1970; "" for the server's
-- Reply   {time in microseconds as text, {values of the keys in their order, or nil; nil, too, for one
--         that holds no string}}
-- Atomic, because a verdict needs a time at which record and tenure were as they were read.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
return { string.format('%.0f', now), redis.call('MGET', unpack(KEYS)) }
