#!lua flags=allow-oom
-- Notes that the authority is there, where it was not away; or what was made of its absence.
-- KEYS[1] when it was seen last (8 bytes, big-endian), then the absences
-- ARGV[1] longest time between two sights that is no absence, in microseconds
-- ARGV[2] the time in microseconds since 1970; "" for the server's
-- ARGV[3] value that was judged; "" where there was none
-- ARGV[4] value to put in its place; "" where nothing was judged yet
-- Reply   {value or nil, time, 1 if the authority is seen at that time, else 0}
-- Atomic, because of two who note an absence only one may.
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local value = redis.call('GET', KEYS[1])
if ARGV[4] ~= '' and (value or '') == ARGV[3] then
  value = ARGV[4]
  redis.call('SET', KEYS[1], value)
end
local seen = value and struct.unpack('>I8', value)
if not seen or seen + ARGV[1] < now then
  return { value, string.format('%.0f', now), 0 }
end
if seen < now then
  value = struct.pack('>I8', now) .. string.sub(value, 9)
  redis.call('SET', KEYS[1], value)
end
return { value, string.format('%.0f', now), 1 }
