#!lua flags=no-writes
-- Reads what a request key made earlier: the token at its own id, or its claim on another id.
-- KEYS[1] record at the id that follows from the request key
-- KEYS[2] claim of the request key
-- ARGV[1] the time in microseconds since 1970; "" for the server's
-- Reply   {value of the record or nil, value of the claim or nil, time in microseconds as text}
-- Atomic, because record and claim exclude each other only when they are seen together.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
return { redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]), string.format('%.0f', now) }
