#!lua
-- Writes record and tenure of a new token of a pool, unless its id is taken or its request made
-- another token.
-- KEYS[1] base of the token's slot; the prelude puts those of its pool together
-- KEYS[2] record of the token
-- KEYS[3] claim of a request whose key leads to the same id
-- KEYS[4] tenure of the token
-- ARGV[1] value of the record: revision (8 bytes, big-endian), blob
-- ARGV[2] how long a deletion is remembered, in microseconds
-- ARGV[3] the time in microseconds since 1970; "" for the server's
-- ARGV[4] REST of the token
-- ARGV[5] the pool's place
-- ARGV[6] set of the pool in which the token stands
-- ARGV[7] until when at least, in microseconds since 1970, or "+inf"
-- ARGV[8] its tenure
-- ARGV[9] the channel of bells
-- Reply   {"created", nil}, {"taken", value that stands there}, {"gone", nil} where a deletion is
--         remembered, {"claimed", value of the claim}
-- Atomic, because of two creations of one id, or of one request, only one may succeed.
local now = instant(ARGV[3])
local standing_there = redis.call('GET', KEYS[2])
if standing_there and #standing_there > 8 then
  return { 'taken', standing_there }
end
if standing_there and struct.unpack('>I8', standing_there) + ARGV[2] > now then
  return { 'gone', false }
end
local claim = redis.call('GET', KEYS[3])
if claim and (#claim == 22 or struct.unpack('>I8', claim, 23) + ARGV[2] > now) then
  return { 'claimed', claim }
end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[4], ARGV[8])
local pool = pool_at(ARGV[5])
put(pool, ARGV[4], ARGV[6], ARGV[7])
tell(pool, CREATED, ARGV[4], struct.unpack('>I8', ARGV[1]), ARGV[1], '')
ring(pool, now, ARGV[9])
return { 'created', false }
