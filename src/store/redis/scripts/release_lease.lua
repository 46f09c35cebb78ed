#!lua flags=allow-oom
-- Ends a lease that is in force.
-- KEYS[1] base of the token's slot; the prelude puts those of its pool together
-- KEYS[2] record of the token
-- KEYS[3] tenure of the token
-- ARGV[1] REST of the token
-- ARGV[2] mark of the lease; "" for whichever is in force
-- ARGV[3] namespaces in reach
-- ARGV[4] why it ends: 1 released, 4 forced
-- ARGV[5] the time in microseconds since 1970; "" for the server's
-- ARGV[6] the channel of bells
-- Reply   {record or nil, tenure or nil, time, 1 if this ended it, else 0}
-- Atomic, because what came to another holder meanwhile must not be ended.
local now = instant(ARGV[5])
local record, bytes = redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3])
local tenure = bytes and open(bytes)
local lease = tenure and live(tenure, now)
local meant = lease and (ARGV[2] == '' or ARGV[2] == lease.mark) and reaches(ARGV[3], tenure.place)
if not meant then
  return { record, bytes, text(now), 0 }
end
lease.ended, lease.why = now, tonumber(ARGV[4])
beat(tenure, now)
bytes = close(tenure)
redis.call('SET', KEYS[3], bytes)
local pool = pool_at(tenure.place)
put(pool, ARGV[1], standing(tenure, now, ''))
if record and #record > 8 then
  tell(pool, RELEASED, ARGV[1], now, record, newest(tenure, bytes))
end
ring(pool, now, ARGV[6])
return { record, bytes, text(now), 1 }
