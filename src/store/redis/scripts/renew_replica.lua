#!lua flags=allow-oom
-- Renews the lease of a replica that answers from memory, and tells it what it lacks.
-- KEYS[1] the registry: its head, and for each replica the numbers of the last entry that it has applied
--         and of its last renewal (8 bytes each, big-endian)
-- KEYS[2] its log
-- ARGV[1] the server's run
-- ARGV[2] id of the replica
-- ARGV[3] the epoch that it knows; "" for none
-- ARGV[4] number of the last entry that it has applied
-- ARGV[5] "1" where it has known the epoch for longer than any lease from before it lasts, else "0"
-- ARGV[6] the time in microseconds since 1970; "" for the server's
-- Reply   {time, epoch, settled, number of the newest entry, how many replicas there are, the entries
--         that it lacks, or nil where it has to drop all}; nothing where this run keeps no registry
-- Atomic, because what is told to be applied must be all there is, and the lease is for that.
local head = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'settled', 'last', ARGV[2], 'renewals')
if head[1] ~= ARGV[1] then
  return {}
end
local epoch, settled, last, member = head[2], head[3], tonumber(head[4]), head[5]
local known = tonumber(ARGV[4])
local same = ARGV[3] == epoch and known <= last
if same and ARGV[5] == '1' and settled == '0' then
  settled = '1'
  redis.call('HSET', KEYS[1], 'settled', settled)
end
local applied, entries = 0, false
if same and member then
  local lacking = last - known
  if lacking == 0 then
    entries = {}
  elseif lacking <= redis.call('LLEN', KEYS[2]) then
    entries = redis.call('LRANGE', KEYS[2], -lacking, -1)
  end
  applied = entries and known or struct.unpack('>I8', member)
end
local renewals = head[6] + 1
redis.call('HSET', KEYS[1], 'renewals', string.format('%.0f', renewals),
  ARGV[2], struct.pack('>I8I8', applied, renewals))
local now = ARGV[6]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', time[1] * 1000000 + time[2])
end
-- Beside the replicas there are the five fields of the head.
return { now, epoch, settled, head[4], redis.call('HLEN', KEYS[1]) - 5, entries }
