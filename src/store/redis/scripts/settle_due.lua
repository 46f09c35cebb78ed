#!lua flags=allow-oom
-- Notes a later time for a token that a sweep has judged, or that it is not to be looked at any more;
-- unless another time was noted meanwhile.
-- KEYS[1] what is due, in the token's shard
-- ARGV[1] id of the token (22 digits)
-- ARGV[2] the time at which the sweep found it, in microseconds since 1970
-- ARGV[3] the later time, in microseconds since 1970; "" for never
-- Reply   1 if that is noted, 0 if another time had been
-- Atomic, because what a change notes after the sweep has judged must not be lost.
local noted = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]))
if noted ~= tonumber(ARGV[2]) then
  return 0
end
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
end
return 1
