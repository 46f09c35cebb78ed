#!lua flags=allow-oom
-- Drops events that were kept long enough, and notes the last of them.
-- KEYS[1] the log
-- KEYS[2] the last event that was dropped
-- ARGV[1] the last millisecond since 1970 of those that go
-- ARGV[2] how many of them at most
-- Reply   how many
-- Atomic, because whoever reads the log must find each event there or dropped.
local old = redis.call('XRANGE', KEYS[1], '-', ARGV[1], 'COUNT', ARGV[2])
if #old > 0 then
  redis.call('SET', KEYS[2], old[#old][1])
  redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', redis.call('XLEN', KEYS[1]) - #old)
end
return #old
