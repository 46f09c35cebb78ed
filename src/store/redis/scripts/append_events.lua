#!lua flags=allow-oom
-- Adds events to the log, each where its mark still stands, and takes the mark away; drops the oldest
-- beyond a number, and notes the last one that it dropped.
-- KEYS[1] the log
-- KEYS[2] the marks of changes
-- KEYS[3] the last event that was dropped
-- ARGV[1] the time in microseconds since 1970, which marks the events in the log; "" for the server's
-- ARGV[2] how many events are kept
-- ARGV[3] how many more may stand before any is dropped
-- ARGV[4...] for each three: its mark, "" without one; "turn" where it waits for earlier changes of its
--         token that are marked, "late" where it does not, "sure" where it is added without its mark,
--         too, "behind" where it has none and waits for all that sort before that text; and the event,
--         "" where nothing is told
-- Reply   for each 1, or 0 where it waits
-- Atomic, because of two who tell what one mark says only one may, and none before an earlier change.
-- It may pass the memory limit: what is done must be told.
local id = '*'
if ARGV[1] ~= '' then
  local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  last = last and last[1] or redis.call('GET', KEYS[3]) or '0-0'
  local reached = tonumber(string.match(last, '^%d+'))
  id = string.format('%.0f-*', math.max(math.floor(ARGV[1] / 1000), reached))
end
local answers = {}
for at = 4, #ARGV, 3 do
  local mark, how, event = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local waits = false
  if (how == 'turn' or how == 'behind') and event ~= '' then
    -- A mark begins with the token's id and the revision that was to be changed.
    local first, own = '[' .. string.sub(mark, 1, 22), '(' .. string.sub(mark, 1, 30)
    waits = redis.call('ZLEXCOUNT', KEYS[2], first, own) > 0
  end
  if not waits then
    local stood = mark == '' or how == 'behind' or redis.call('ZREM', KEYS[2], mark) == 1
    if event ~= '' and (stood or how == 'sure') then
      redis.call('XADD', KEYS[1], id, 'e', event)
    end
  end
  answers[#answers + 1] = waits and 0 or 1
end
local length = redis.call('XLEN', KEYS[1])
local over = math.min(length - ARGV[2], 1024)
if over > tonumber(ARGV[3]) then
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', over)
  redis.call('SET', KEYS[3], oldest[#oldest][1])
  redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', length - over)
end
return answers
