#!lua flags=allow-oom
-- Removes what was moved to the log from what was noted in a pool's slot, and lets others move the rest.
-- KEYS[1] base of the pool's slot; the prelude puts the others together
-- ARGV[1] the pool's place
-- ARGV[2] who moved it
-- ARGV[3] how many entries
-- Reply   how many are left, which whoever moved those has to move as well; 0 where another moves by now
-- Atomic, because entries that another moved must not be counted among those that go, and none may come
-- in between that nobody moves.
local pool = pool_at(ARGV[1])
if redis.call('GET', pool.mover) ~= ARGV[2] then
  return 0
end
redis.call('LTRIM', pool.events, ARGV[3], -1)
redis.call('DEL', pool.mover)
return redis.call('LLEN', pool.events)
