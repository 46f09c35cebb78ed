#!lua flags=allow-oom
-- Removes an entry from a bucket of a series, if it stands there at the given time.
-- KEYS[1] entries of the bucket
-- ARGV[1] the entry
-- ARGV[2] its time in microseconds since 1970
-- Reply   1 if it was removed, else 0
-- Atomic, because a later creation may have moved the entry to a time of its own.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then
  return 0
end
return redis.call('ZREM', KEYS[1], ARGV[1])
