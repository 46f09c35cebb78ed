#!lua flags=no-writes
-- Reads what stands at a token's id, and the store's time.
-- KEYS[1] record of the token
-- ARGV[1] the time in microseconds since 1970; "" for the server's
-- Reply   {value of the record or nil, time in microseconds as text}
-- Atomic, because a verdict needs a time at which the record was as it was read.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
return { redis.call('GET', KEYS[1]), string.format('%.0f', now) }
