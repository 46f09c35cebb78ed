#!lua flags=allow-oom
-- Notes in a claim that its token was deleted, so that the request key becomes free in time; or
-- removes the claim of a token that vanished.
-- KEYS[1] claim of the request key
-- ARGV[1] id of the deleted token (22 digits)
-- ARGV[2] revision of the deletion (8 bytes, big-endian); "" to remove the claim
-- ARGV[3] how long the note takes memory, in milliseconds; its meaning is judged by time
-- Reply   1 if the claim was this token's, else 0
-- Atomic, because the claim of another token must not be ended.
local claim = redis.call('GET', KEYS[1])
if not claim or string.sub(claim, 1, 22) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
end
return 1
