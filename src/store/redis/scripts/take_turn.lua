#!lua flags=allow-oom
-- Takes the turn at telling what is due, so that two servers seldom tell the same; or gives it back.
-- KEYS[1] whose turn it is; it goes by itself
-- ARGV[1] who asks
-- ARGV[2] for how long, in milliseconds; "" to give it back
-- Reply   1 if it is theirs, or was, else 0
-- Atomic, because of two who ask only one may have it.
if ARGV[2] ~= '' then
  return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
