#!lua flags=allow-oom
-- Removes what was moved to the log from what was noted in a pool's slot.
-- KEYS[1] base of the pool's slot; the prelude puts the others together
-- ARGV[1] the pool's place
-- ARGV[2] who moved it
-- ARGV[3] how many entries
-- Reply   how many are left to be moved by the same; 0 where another moves them by now
-- Atomic, because entries that another moved must not be counted among those that go.
local pool = pool_at(ARGV[1])
if redis.call('GET', pool.mover) ~= ARGV[2] then
  return 0
end
redis.call('LTRIM', pool.events, ARGV[3], -1)
local left = redis.call('LLEN', pool.events)
if left == 0 then
  redis.call('DEL', pool.mover)
end
return left
