#!lua flags=allow-oom
-- Takes a token away that was kept long enough, if it still has the revision that was judged. Its
-- record is put aside, since it tells which index entries remain; no mark of a deletion is left.
-- KEYS[1] record of the token
-- KEYS[2] what remains of it
-- KEYS[3] what is spent of its rate limits
-- KEYS[4] what is spent of its quota
-- KEYS[5] its batches
-- KEYS[6] ledger of its use
-- KEYS[7] days of its use
-- ARGV[1] revision that was judged (8 bytes, big-endian)
-- Reply   1 if it is taken away, 0 where another revision, or no token, stands there
-- Atomic, because a token that changed after it was judged must be judged again, and one whose
-- record is gone without remains would leave its entries for ever.
local standing = redis.call('GET', KEYS[1])
if not standing or #standing <= 8 or string.sub(standing, 1, 8) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], standing)
redis.call('DEL', KEYS[1], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7])
return 1
