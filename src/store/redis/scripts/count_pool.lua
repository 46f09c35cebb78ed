#!lua flags=allow-oom
-- Counts the tokens of a pool as they stand, and who waits for them.
-- KEYS[1] base of the pool's slot; the prelude puts the others together
-- ARGV[1] the pool's place
-- ARGV[2] the time in microseconds since 1970; "" for the server's
-- ARGV[3] until when the absences are all, in microseconds since 1970
-- ARGV[4] when the authority was seen last, and the absences
-- Reply   {"counted", free, held, out, waiting}, {"unseen", time} where an absence may be missing or
--         an unseen one could bring back who is gone, {"again"} where more is to be settled
-- Atomic, because a token that moves meanwhile must be counted once.
local now = instant(ARGV[2])
if tonumber(ARGV[3]) < now then
  return { 'unseen', text(now) }
end
local pool = pool_at(ARGV[1])
local more = settle(pool, now, ARGV[4], 256)
if more == nil then
  return { 'unseen', text(now) }
elseif more then
  return { 'again' }
end
if drop_gone(pool, now, 1024) then
  return { 'again' }
end
return { 'counted', redis.call('ZCARD', pool.free), redis.call('ZCARD', pool.held),
  redis.call('ZCARD', pool.out), redis.call('ZCARD', pool.queue) }
