#!lua
-- Leases one of the available tokens of a pool, or queues the call.
-- KEYS[1]  base of the pool's slot; the prelude puts the others together
-- ARGV[1]  the pool's place
-- ARGV[2]  the time in microseconds since 1970; "" for the server's
-- ARGV[3]  until when the absences are all, in microseconds since 1970
-- ARGV[4]  when the authority was seen last, and the absences
-- ARGV[5]  53 random bits as a number: which token is drawn
-- ARGV[6]  mark of the lease
-- ARGV[7]  how long it lasts, in microseconds
-- ARGV[8]  what else is kept of it
-- ARGV[9]  what a request that is repeated is known by; "" without one
-- ARGV[10] what is kept of the request behind the token and the time
-- ARGV[11] for how long a request is remembered, in microseconds
-- ARGV[12] how long that, a queue and the presence of a waiter take memory, in milliseconds
-- ARGV[13] the waiter; "" of a call that does not wait
-- ARGV[14] how long after its last question a waiter counts as gone, in microseconds
-- ARGV[15] how many ended leases a token remembers
-- ARGV[16] for how long, in microseconds
-- ARGV[17] the channel of bells
-- Reply    {"granted", REST, record, tenure, time}, {"earlier", REST, record or nil, tenure or nil,
--          time, what is kept of the request}, {"busy", time, its turn or nil}, {"empty"},
--          {"unseen", time} where an absence may be missing or an unseen one could bring back who is
--          gone, {"again"} where more is to be settled
-- Atomic, because no two may get one token, and none may be passed over who waits.
local place, draw, waiter = ARGV[1], tonumber(ARGV[5]), ARGV[13]
local now, absences = instant(ARGV[2]), ARGV[4]
if tonumber(ARGV[3]) < now then
  return { 'unseen', text(now) }
end
local pool = pool_at(place)

local known = ARGV[9] ~= '' and redis.call('GET', request_at(ARGV[9]))
if known and struct.unpack('>I8', known, 15) + ARGV[11] > now then
  -- Whatever it is answered, it waits no longer.
  leave(pool, waiter, now, ARGV[17])
  local rest = string.sub(known, 1, 14)
  return { 'earlier', rest, redis.call('GET', record_at(rest)), redis.call('GET', tenure_at(rest)),
    text(now), string.sub(known, 23) }
end

local more = settle(pool, now, absences, 64)
if more == nil then
  return { 'unseen', text(now) }
end
local free = redis.call('ZCARD', pool.free)
local count = more and available(pool, now) or free
local held = redis.call('ZCARD', pool.held)
if free + held + redis.call('ZCARD', pool.out) == 0 then
  redis.call('ZREM', pool.queue, waiter)
  drop_gone(pool, now, 64)
  return { 'empty' }
end

-- How many wait before this call.
local function before()
  if waiter == '' then
    return redis.call('ZCARD', pool.queue)
  end
  local arrival = redis.call('ZSCORE', pool.queue, waiter)
  return redis.call('ZCOUNT', pool.queue, '-inf', '(' .. string.format('%.0f', arrival))
end
if waiter ~= '' then
  redis.call('SET', presence_at(waiter), text(now + ARGV[14]), 'PX', ARGV[12])
  if not redis.call('ZSCORE', pool.queue, waiter) then
    local newest = redis.call('ZRANGE', pool.queue, 0, 0, 'REV', 'WITHSCORES')[2]
    local arrival = math.max(now, newest and newest + 1 or 0)
    redis.call('ZADD', pool.queue, text(arrival), waiter)
  end
  -- Where all have died, nobody may come by to pass them over.
  redis.call('PEXPIRE', pool.queue, ARGV[12])
end
local ahead = before()
if ahead > 0 and (more or count <= ahead) and drop_gone(pool, now, 64) then
  return { 'again' }
end
if more and (ahead > 0 or count == 0) then
  -- How many are available is not known yet.
  return { 'again' }
end
if count <= ahead then
  local at = ahead - count
  local turn = redis.call('ZRANGE', pool.held, at, at, 'WITHSCORES')[2]
  return { 'busy', text(now), turn and text(turn) or false }
end

local rank = math.floor(draw / 2 ^ 53 * count)
local rest
if rank < free then
  rest = redis.call('ZRANGE', pool.free, rank, rank)[1]
else
  rest = redis.call('ZRANGE', pool.held, rank - free, rank - free)[1]
end
local record, bytes = redis.call('GET', record_at(rest)), redis.call('GET', tenure_at(rest))
if rank >= free then
  tell_lapse(pool, rest, bytes, now, record)
end
local tenure = bytes and open(bytes)
local set, till
if record and bytes then
  set, till = standing(tenure, now, absences)
end
if set ~= 'free' then
  if not set and till and unseen(absences, till) then
    return { 'unseen', text(now) }
  end
  put(pool, rest, set, till)
  return { 'again' }
end

-- Those that ended before are remembered, so many for so long. One that was over by its time alone
-- would be in force again where the clock is set back.
local lease, behind = tenure.lease, tenure.older
if lease and lease.ended == 0 then
  lease.ended, lease.why = lease.expires, lease.lapse
  bytes = close(tenure)
end
local standing_there = string.sub(bytes, 34 + #tenure.place)
local ended = {}
for _ = 1, tonumber(ARGV[15]) do
  if not lease then
    break
  end
  local over = lease.ended ~= 0 and lease.ended or lease.expires
  if now < over + ARGV[16] then
    ended[#ended + 1] = string.sub(standing_there, 1, #standing_there - #behind)
  end
  standing_there = behind
  lease, behind = first_lease(behind)
end
tenure.older = table.concat(ended)
tenure.fence = math.max(tenure.fence + 1, now)
tenure.lease = {
  mark = ARGV[6],
  fence = tenure.fence,
  acquired = now,
  duration = tonumber(ARGV[7]),
  ended = 0,
  why = 0,
  blob = ARGV[8],
}
last_until(tenure, now + ARGV[7])
beat(tenure, now)
bytes = close(tenure)
redis.call('SET', tenure_at(rest), bytes)
put(pool, rest, 'held', text(tenure.lease.expires))
tell(pool, LEASED, rest, now, record, newest(tenure, bytes))
if ARGV[9] ~= '' then
  local note = rest .. struct.pack('>I8', now) .. ARGV[10]
  redis.call('SET', request_at(ARGV[9]), note, 'PX', ARGV[12])
end
if waiter ~= '' then
  redis.call('ZREM', pool.queue, waiter)
  redis.call('DEL', presence_at(waiter))
end
ring(pool, now, ARGV[17])
return { 'granted', rest, record, bytes, text(now) }
