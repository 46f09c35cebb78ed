#!lua flags=allow-oom
-- Notes since when a token is out of force, or will be; or that it will not be by itself.
-- KEYS[1] the tokens of its namespace that are out of force, or will be
-- ARGV[1] id of the token (22 digits)
-- ARGV[2] since when, in microseconds since 1970; 0 for one that is switched off, "" for never
-- Reply   1
-- Atomic, because it is a single step.
-- It may pass the memory limit: a revocation must not fail because memory is full. What creates is
-- refused by the script before it, and then undoes this.
if ARGV[2] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
end
return 1
