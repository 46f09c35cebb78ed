#!lua
-- Claims a request key for a token that lives at another id, such as a pooled one.
-- KEYS[1] record at the id that follows from the request key
-- KEYS[2] claim of the request key
-- ARGV[1] id of the token (22 digits)
-- ARGV[2] how long a deletion is remembered, in microseconds
-- ARGV[3] the time in microseconds since 1970; "" for the server's
-- Reply   {"claimed", value of the claim that holds now}, {"taken", value of the record},
--         {"gone", nil} where a deletion is remembered at the record
-- Atomic, because of two creations under one request key only one may get it.
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local standing = redis.call('GET', KEYS[1])
if standing and #standing > 8 then
  return { 'taken', standing }
end
if standing and struct.unpack('>I8', standing) + ARGV[2] > now then
  return { 'gone', false }
end
local claim = redis.call('GET', KEYS[2])
if claim and (#claim == 22 or struct.unpack('>I8', claim, 23) + ARGV[2] > now) then
  return { 'claimed', claim }
end
redis.call('SET', KEYS[2], ARGV[1])
return { 'claimed', ARGV[1] }
