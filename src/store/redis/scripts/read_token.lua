#!lua flags=no-writes
-- Reads what stands at a token's id, and the store's time.
-- KEYS[1] record of the token
-- KEYS[2] tenure of a token of a pool
-- ARGV[1] the time in microseconds since 1970; "" for the server's
-- Reply   {value of the record or nil, time in microseconds as text, tenure or nil}
-- Atomic, because a verdict needs a time at which both were as they were read.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
return { redis.call('GET', KEYS[1]), string.format('%.0f', now), redis.call('GET', KEYS[2]) }
