#!lua flags=allow-oom
-- Replaces record and tenure of a token of a pool if both still are what was judged.
-- KEYS[1] base of the token's slot; the prelude puts those of its pool together
-- KEYS[2] record of the token
-- KEYS[3] tenure of the token
-- ARGV[1] revision that was judged (8 bytes, big-endian)
-- ARGV[2] new blob of the record
-- ARGV[3] tenure that was judged; "" where there was none
-- ARGV[4] REST of the token
-- ARGV[5] the pool's place
-- ARGV[6] set of the pool in which the token stands from now on
-- ARGV[7] until when at least, in microseconds since 1970, or "+inf"
-- ARGV[8] new tenure
-- ARGV[9] the channel of bells
-- ARGV[10] until when the token was judged to live, in microseconds since 1970; "" for ever
-- ARGV[11] what the change is told as
-- ARGV[12] the time in microseconds since 1970; "" for the server's
-- Reply   {"done", new revision as text}, or {"moved", nil} where another revision or tenure, or no
--         token, stands there, or where nobody kept the token alive until now
-- Atomic, because a change or a lease that came between must not be lost, and who is gone must not
-- come back.
-- It may pass the memory limit: a revocation must not fail because memory is full.
local record = redis.call('GET', KEYS[2])
local same = record and #record > 8 and string.sub(record, 1, 8) == ARGV[1]
if not same or (redis.call('GET', KEYS[3]) or '') ~= ARGV[3] then
  return { 'moved', false }
end
local now = instant(ARGV[12])
if ARGV[10] ~= '' and tonumber(ARGV[10]) <= now then
  return { 'moved', false }
end
local revision = math.max(struct.unpack('>I8', record) + 1, now)
local changed = struct.pack('>I8', revision) .. ARGV[2]
redis.call('SET', KEYS[2], changed)
redis.call('SET', KEYS[3], ARGV[8])
local pool = pool_at(ARGV[5])
local before, after = open(ARGV[3]), open(ARGV[8])
local ended = before and after and before.lease and after.lease and before.lease.ended == 0
  and after.lease.ended ~= 0
if not ended then
  tell_lapse(pool, ARGV[4], ARGV[3], now, record)
end
tell(pool, tonumber(ARGV[11]), ARGV[4], now, changed, '')
if ended then
  tell(pool, RELEASED, ARGV[4], now, changed, newest(after, ARGV[8]))
end
put(pool, ARGV[4], ARGV[6], ARGV[7])
ring(pool, now, ARGV[9])
return { 'done', text(revision) }
