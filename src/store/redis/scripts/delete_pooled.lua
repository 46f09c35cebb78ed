#!lua flags=allow-oom
-- Deletes a token of a pool if it still has the revision that was judged, and leaves its last revision
-- as a mark of the deletion.
-- KEYS[1] base of the token's slot; the prelude puts those of its pool together
-- KEYS[2] record of the token
-- KEYS[3] what is spent of its rate limits
-- KEYS[4] what is spent of its quota
-- KEYS[5] its batches
-- KEYS[6] tenure of the token
-- KEYS[7] ledger of its use
-- KEYS[8] days of its use
-- ARGV[1] revision that was judged (8 bytes, big-endian)
-- ARGV[2] how long the mark takes memory, in milliseconds; its meaning is judged by time
-- ARGV[3] REST of the token
-- ARGV[4] the pool's place
-- ARGV[5] the time in microseconds since 1970; "" for the server's
-- Reply   {"done", revision of the deletion as text, days of its use or nil}, or {"moved"} where another revision, or
--         no token, stands there
-- Atomic, because a token that changed after it was judged must be judged again. That it was leased
-- meanwhile does not matter.
local record = redis.call('GET', KEYS[2])
if not record or #record <= 8 or string.sub(record, 1, 8) ~= ARGV[1] then
  return { 'moved' }
end
local now, pool = instant(ARGV[5]), pool_at(ARGV[4])
local revision = math.max(struct.unpack('>I8', record) + 1, now)
local bytes = redis.call('GET', KEYS[6])
local tenure = bytes and open(bytes)
local lease = tenure and live(tenure, now)
if lease then
  lease.ended, lease.why = now, REVOKED
  tell(pool, RELEASED, ARGV[3], now, record, newest(tenure, close(tenure)))
else
  tell_lapse(pool, ARGV[3], bytes, now, record)
end
tell(pool, DELETED, ARGV[3], now, record, '')
local days = redis.call('GET', KEYS[8])
redis.call('DEL', KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8])
put(pool, ARGV[3])
redis.call('SET', KEYS[2], struct.pack('>I8', revision), 'PX', ARGV[2])
return { 'done', text(revision), days }
