#!lua flags=allow-oom
-- Marks a change of a token in no pool, before it is made: whoever finds the mark later can tell it.
-- KEYS[1] the marks
-- ARGV[1] the mark
-- Reply   1 if it was not there, else 0
-- Atomic, because it is a single write.
-- It may pass the memory limit: a revocation must not fail because memory is full.
return redis.call('ZADD', KEYS[1], 0, ARGV[1])
