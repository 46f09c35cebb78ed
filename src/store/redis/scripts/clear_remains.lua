#!lua flags=allow-oom
-- Removes what remains of a token that vanished, once its index entries are removed.
-- KEYS[1] what remains of it
-- ARGV[1] revision that it had (8 bytes, big-endian)
-- Reply   1 if it is removed, 0 where the remains of another, or none, stand there
-- Atomic, because the remains of a later token of the same id must stay.
local standing = redis.call('GET', KEYS[1])
if not standing or string.sub(standing, 1, 8) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
