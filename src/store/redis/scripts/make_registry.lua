#!lua flags=allow-oom
-- Makes the registry of those who answer from memory, unless this run of the server keeps one.
-- KEYS[1] the registry
-- KEYS[2] its log
-- ARGV[1] the server's run
-- ARGV[2] epoch of the new one
-- ARGV[3] "1" where nobody can hold a lease from before it, else "0"
-- Reply   1 if it was made, else 0
-- Atomic, because of two who find none only one may make it, and nothing of an earlier one may stay.
if redis.call('HGET', KEYS[1], 'run') == ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'run', ARGV[1], 'epoch', ARGV[2], 'settled', ARGV[3],
  'last', '0', 'renewals', '0')
return 1
