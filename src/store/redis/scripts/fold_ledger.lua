#!lua flags=allow-oom
-- Puts the folded form of what was read of a ledger in its place, before what was appended since; and
-- what was taken out of it beside it: closed hours, by their days, and the sums of days.
-- KEYS[1] the ledger
-- KEYS[2] the sums of days
-- KEYS[3...] the closed hours of some days
-- ARGV[1] what was read of the ledger
-- ARGV[2] its folded form
-- ARGV[3] what was read of the days; "" where there were none
-- ARGV[4] the days from now on
-- ARGV[5...] of each of these days: what is appended to it, and how long it is kept from now on, in
--            milliseconds
-- Reply   1 if it is folded, 0 where another folded it, or it is gone
-- Atomic, because whatever is taken out of the ledger must stand beside it at the same instant, once.
local ledger = redis.call('GET', KEYS[1])
if not ledger or string.sub(ledger, 1, #ARGV[1]) ~= ARGV[1] then
  return 0
end
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2] .. string.sub(ledger, #ARGV[1] + 1))
if ARGV[4] ~= ARGV[3] then
  redis.call('SET', KEYS[2], ARGV[4])
end
for at = 3, #KEYS do
  -- Appended by hand: Redis makes a string that is appended to twice as large as it is.
  local hours = redis.call('GET', KEYS[at]) or ''
  redis.call('SET', KEYS[at], hours .. ARGV[2 * at - 1], 'PX', ARGV[2 * at])
end
return 1
