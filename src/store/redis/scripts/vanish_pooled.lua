#!lua flags=allow-oom
-- Takes a token of a pool away that was kept long enough, or that nobody kept alive, if record and
-- tenure still are what was judged. The record is put aside, since it tells which index entries
-- remain; no mark of a deletion is left.
-- KEYS[1] base of the token's slot; the prelude puts those of its pool together
-- KEYS[2] record of the token
-- KEYS[3] what remains of it
-- KEYS[4] what is spent of its rate limits
-- KEYS[5] what is spent of its quota
-- KEYS[6] its batches
-- KEYS[7] tenure of the token
-- KEYS[8] ledger of its use
-- KEYS[9] days of its use
-- ARGV[1] revision that was judged (8 bytes, big-endian)
-- ARGV[2] tenure that was judged; "" where there was none
-- ARGV[3] REST of the token
-- ARGV[4] the pool's place
-- Reply   1 if it is taken away, 0 where another revision or tenure, or no token, stands there
-- Atomic, because a token that was changed or kept alive after it was judged must be judged again,
-- and one whose record is gone without remains would leave its entries for ever.
local record = redis.call('GET', KEYS[2])
local same = record and #record > 8 and string.sub(record, 1, 8) == ARGV[1]
if not same or (redis.call('GET', KEYS[7]) or '') ~= ARGV[2] then
  return 0
end
local pool = pool_at(ARGV[4])
-- Whatever lease it had is over.
tell_lapse(pool, ARGV[3], ARGV[2], math.huge, record)
redis.call('SET', KEYS[3], record)
redis.call('DEL', KEYS[2], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9])
put(pool, ARGV[3])
return 1
