#!lua flags=allow-oom
-- Extends a lease that is in force, and with it the life of its token.
-- KEYS[1] base of the token's slot; the prelude puts those of its pool together
-- KEYS[2] record of the token
-- KEYS[3] tenure of the token
-- ARGV[1] REST of the token
-- ARGV[2] mark of the lease
-- ARGV[3] namespaces in reach
-- ARGV[4] how long from now it shall last, in microseconds; "" for as long as when it was acquired
-- ARGV[5] the time in microseconds since 1970; "" for the server's
-- Reply   {record or nil, tenure or nil, time, 1 if the lease is in force, else 0}
-- Atomic, because a lease that was ended meanwhile must not begin again.
local now = instant(ARGV[5])
local record, bytes = redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3])
local tenure = bytes and open(bytes)
local lease = tenure and live(tenure, now)
if not lease or lease.mark ~= ARGV[2] or not reaches(ARGV[3], tenure.place) then
  return { record, bytes, text(now), 0 }
end
local expires, lapse = lease.expires, lease.lapse
last_until(tenure, now + (tonumber(ARGV[4]) or lease.duration))
if lease.expires <= expires then
  lease.expires, lease.lapse = expires, lapse
end
beat(tenure, now)
bytes = close(tenure)
redis.call('SET', KEYS[3], bytes)
put(pool_at(tenure.place), ARGV[1], 'held', text(lease.expires))
return { record, bytes, text(now), 1 }
