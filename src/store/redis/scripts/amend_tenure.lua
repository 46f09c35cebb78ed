#!lua flags=allow-oom
-- Puts another tenure in the place of the one that was judged.
-- KEYS[1] base of the token's slot; the prelude puts those of its pool together
-- KEYS[2] record of the token
-- KEYS[3] tenure of the token
-- ARGV[1] revision that was judged (8 bytes, big-endian)
-- ARGV[2] tenure that was judged; "" where there was none
-- ARGV[3] REST of the token
-- ARGV[4] the pool's place
-- ARGV[5] set of the pool in which the token stands from now on
-- ARGV[6] until when at least, in microseconds since 1970, or "+inf"
-- ARGV[7] new tenure
-- ARGV[8] until when the token was judged to live, in microseconds since 1970; "" for ever
-- ARGV[9] the time in microseconds since 1970; "" for the server's
-- Reply   1 if it is written, 0 where another record or tenure, or none, stands there, or where nobody
--         kept the token alive until now
-- Atomic, because what came between must not be lost, and who is gone must not come back.
local record = redis.call('GET', KEYS[2])
local same = record and #record > 8 and string.sub(record, 1, 8) == ARGV[1]
if not same or (redis.call('GET', KEYS[3]) or '') ~= ARGV[2] then
  return 0
end
local now = instant(ARGV[9])
if ARGV[8] ~= '' and tonumber(ARGV[8]) <= now then
  return 0
end
local pool = pool_at(ARGV[4])
tell_lapse(pool, ARGV[3], ARGV[2], now, record)
redis.call('SET', KEYS[3], ARGV[7])
put(pool, ARGV[3], ARGV[5], ARGV[6])
return 1
