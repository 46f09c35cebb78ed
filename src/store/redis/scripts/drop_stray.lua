#!lua flags=allow-oom
-- Drops the use of a token that is gone, which was added too late.
-- KEYS[1] record of the token
-- KEYS[2] ledger of its use
-- KEYS[3] days of its use
-- ARGV    none
-- Reply   1 if the token is gone, else 0
-- Atomic, because the use of a token that comes to be just now must stay.
local record = redis.call('GET', KEYS[1])
if record and #record > 8 then
  return 0
end
redis.call('DEL', KEYS[2], KEYS[3])
return 1
