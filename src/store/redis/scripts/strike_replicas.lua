#!lua flags=allow-oom
-- Strikes replicas off the registry that answer from memory no more.
-- KEYS[1] the registry
-- ARGV[1] the server's run
-- ARGV[2...] for each: its id, and how often it had renewed when it was seen; "" where it says itself
--         that it has given up its lease
-- Reply   how many were struck off
-- Atomic, because one that renews meanwhile holds a lease, and must stay.
local struck = 0
if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] then
  return struck
end
for at = 2, #ARGV, 2 do
  local member = redis.call('HGET', KEYS[1], ARGV[at])
  if member then
    local _, renewals = struct.unpack('>I8I8', member)
    if ARGV[at + 1] == '' or tonumber(ARGV[at + 1]) == renewals then
      struck = struck + redis.call('HDEL', KEYS[1], ARGV[at])
    end
  end
end
return struck
