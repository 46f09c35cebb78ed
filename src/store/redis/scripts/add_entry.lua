#!lua
-- Adds an entry to a bucket of a series, at a given time or at the next free instant; seals the
-- bucket once it is full. A sealed bucket takes only what belongs before its seal.
-- KEYS[1] entries of the bucket
-- KEYS[2] seal of the bucket: the time of its last entry when it became full
-- ARGV[1] what is listed
-- ARGV[2] its time in microseconds since 1970; "" to assign the next free one
-- ARGV[3] start of the bucket in microseconds since 1970: no assigned time is earlier
-- ARGV[4] how many entries make the bucket full
-- ARGV[5] the time in microseconds since 1970; "" for the server's
-- ARGV[6] what stands behind the name instead of the time, as text; "" for the time
-- Reply   {"added", time of the entry as text}, or {"sealed", time of the seal as text}
-- Atomic, because assigned times must differ, and nothing may enter once the seal is read.
local asked = tonumber(ARGV[2])
local last = redis.call('ZRANGE', KEYS[1], 0, 0, 'REV', 'WITHSCORES')[2]
local seal = redis.call('GET', KEYS[2])
if not seal and last and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then
  seal = string.format('%.0f', last)
  redis.call('SET', KEYS[2], seal)
end
if seal and (not asked or asked > tonumber(seal)) then
  return { 'sealed', seal }
end
local score = asked
if not score then
  local now = tonumber(ARGV[5])
  if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
  end
  score = math.max(now, tonumber(ARGV[3]), last and last + 1 or 0)
end
local text = string.format('%.0f', score)
-- Listed under its name and that, so that no attempt moves the entry of another.
local since = ARGV[6] == '' and text or ARGV[6]
redis.call('ZADD', KEYS[1], text, ARGV[1] .. since)
return { 'added', text }
