#!lua
-- Keeps the check value of each pepper that the store does not know yet.
-- KEYS[1] the marker
-- ARGV    for each pepper: its field in the marker, its check value
-- Reply   id, min_reader and those check values as they stand in the marker now
-- Atomic, because of two who bring different peppers under one id only the first may find its own
--         kept, and because nothing may be written beside a marker that was lost.
local marked = redis.call('HEXISTS', KEYS[1], 'id') == 1
local fields = {'id', 'min_reader'}
for at = 1, #ARGV, 2 do
  if marked then
    redis.call('HSETNX', KEYS[1], ARGV[at], ARGV[at + 1])
  end
  fields[#fields + 1] = ARGV[at]
end
return redis.call('HMGET', KEYS[1], unpack(fields))
