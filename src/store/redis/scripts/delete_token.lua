#!lua flags=allow-oom
-- Deletes a token if it still has the revision that was judged, and leaves its last revision as a
-- mark of the deletion.
-- KEYS[1] record of the token
-- KEYS[2] what is spent of its rate limits
-- KEYS[3] what is spent of its quota
-- KEYS[4] its batches
-- KEYS[5] ledger of its use
-- KEYS[6] days of its use
-- ARGV[1] revision that was judged (8 bytes, big-endian)
-- ARGV[2] how long the mark takes memory, in milliseconds; its meaning is judged by time
-- ARGV[3] the time in microseconds since 1970; "" for the server's
-- Reply   {"done", revision of the deletion as text, days of its use or nil}, or {"moved"} where another revision, or
--         no token, stands there
-- Atomic, because a token that changed after it was judged must be judged again.
local standing = redis.call('GET', KEYS[1])
if not standing or #standing <= 8 or string.sub(standing, 1, 8) ~= ARGV[1] then
  return { 'moved' }
end
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local revision = math.max(struct.unpack('>I8', standing) + 1, now)
local days = redis.call('GET', KEYS[6])
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.call('SET', KEYS[1], struct.pack('>I8', revision), 'PX', ARGV[2])
return { 'done', string.format('%.0f', revision), days }
