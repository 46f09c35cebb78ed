#!lua flags=no-writes
-- Reads events from a place in the log on.
-- KEYS[1] the log
-- KEYS[2] the last event that was dropped
-- ARGV[1] the first place
-- ARGV[2] how many at most
-- Reply   {the last place of the log, the last one that was dropped, the events, each {place, {"e", event}}};
--         a place is "0-0" where there is none
-- Atomic, because an event that is dropped meanwhile must be found as the one or the other.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local dropped = redis.call('GET', KEYS[2]) or '0-0'
local events = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
return { last and last[1] or dropped, dropped, events }
