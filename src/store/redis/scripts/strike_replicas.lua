#!lua flags=allow-oom
-- Strikes replicas off the registry that answer from memory no more.
-- KEYS[1] the registry
-- ARGV[1] the server's run
-- ARGV[2] the epoch in which they were waited for; "" for any
-- ARGV[3...] for each: its id, and the number of its last renewal by then; "" where it says itself that
--         it has given up its lease
-- Reply   how many were struck off
-- Atomic, because one that renews meanwhile holds a lease, and must stay.
local struck = 0
local head = redis.call('HMGET', KEYS[1], 'run', 'epoch')
if head[1] ~= ARGV[1] or (ARGV[2] ~= '' and ARGV[2] ~= head[2]) then
  return struck
end
for at = 3, #ARGV, 2 do
  local member = redis.call('HGET', KEYS[1], ARGV[at])
  if member then
    local _, renewal = struct.unpack('>I8I8', member)
    if ARGV[at + 1] == '' or tonumber(ARGV[at + 1]) == renewal then
      struck = struck + redis.call('HDEL', KEYS[1], ARGV[at])
    end
  end
end
return struck
