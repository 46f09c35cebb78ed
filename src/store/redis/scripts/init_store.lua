#!lua
-- Writes the identity marker of a new store, unless there is one.
-- KEYS[1] the marker
-- ARGV[1] id of the new store
-- ARGV[2] schema of what it will hold
-- ARGV[3] oldest schema whose readers understand it
-- Reply   {id of the store that stands there now, 1 if it is the new one, else 0}
-- Atomic, because two who initialize at once must get the same id.
local id = redis.call('HGET', KEYS[1], 'id')
if id then
  return { id, 0 }
end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'schema', ARGV[2], 'min_reader', ARGV[3])
return { ARGV[1], 1 }
