#!lua flags=allow-oom
-- Notes when a sweep looks at a token, at the latest. What is noted only ever becomes earlier, and by
-- a microsecond at least: so a sweep that looked before sees that the token may be another now.
-- KEYS[1] what is due, in the token's shard
-- ARGV[1] id of the token (22 digits)
-- ARGV[2] the time to look at it, in microseconds since 1970
-- Reply   the time that is noted now, as text
-- Atomic, because of two who note times the earlier one must stand.
-- It may pass the memory limit: a revocation must not fail because memory is full. What creates is
-- refused by the scripts around it.
local due = tonumber(ARGV[2])
local noted = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]))
if noted and noted <= due then
  due = noted - 1
end
local text = string.format('%.0f', due)
redis.call('ZADD', KEYS[1], text, ARGV[1])
return text
