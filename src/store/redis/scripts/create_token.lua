#!lua
-- Writes the record of a new token, unless its id is taken or its request made another token.
-- KEYS[1] record of the token
-- KEYS[2] claim of a request whose key leads to the same id
-- ARGV[1] value of the record: revision (8 bytes, big-endian), blob
-- ARGV[2] how long a deletion is remembered, in microseconds
-- ARGV[3] the time in microseconds since 1970; "" for the server's
-- Reply   {"created", nil}, {"taken", value that stands there}, {"gone", nil} where a deletion is
--         remembered, {"claimed", value of the claim}
-- Atomic, because of two creations of one id, or of one request, only one may succeed.
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
redis.call('SET', KEYS[1], ARGV[1])
return { 'created', false }
