#!lua flags=allow-oom
-- Reads the oldest of what was noted for the log in a pool's slot, unless another server just moves it there.
-- KEYS[1] base of the pool's slot; the prelude puts the others together
-- ARGV[1] the pool's place
-- ARGV[2] who asks
-- ARGV[3] how long nobody else may, in milliseconds
-- ARGV[4] how many are read at most
-- Reply   the entries; none where there are none, or another moves them
-- Atomic, because of two who ask only one may have them.
local pool = pool_at(ARGV[1])
if redis.call('LLEN', pool.events) == 0 then
  return {}
end
if not redis.call('SET', pool.mover, ARGV[2], 'NX', 'PX', ARGV[3]) then
  return {}
end
return redis.call('LRANGE', pool.events, 0, ARGV[4] - 1)
