-- What the scripts on pooled tokens share; it is put before each of them, behind its first line.
--
-- The names of keys follow from data here: which token is drawn is known to the script alone. They are
-- put together in this file only, from the base of one slot.
-- KEYS[1] of each of those scripts: "ta:{TAG}:", to which a letter and a name are joined
-- ARGV, Reply and Atomic: see each script
--
-- A token's REST is its id without the tag; a pool's place is "<namespace>:<pool>". A tenure is read
-- and written in the form that src/store/tenure.rs says.
local base = KEYS[1]

-- The time in microseconds since 1970: what is given, or the server's.
local function instant(given)
  local now = tonumber(given)
  if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
  end
  return now
end

local function text(number)
  return string.format('%.0f', number)
end

local function record_at(rest)
  return base .. 't:' .. rest
end

local function tenure_at(rest)
  return base .. 'h:' .. rest
end

local function presence_at(waiter)
  return base .. 'p:' .. waiter
end

local function request_at(key)
  return base .. 'a:' .. key
end

-- The keys of a pool.
local function pool_at(place)
  return {
    free = base .. 'f:' .. place,
    held = base .. 'b:' .. place,
    out = base .. 'o:' .. place,
    queue = base .. 'w:' .. place,
    events = base .. 'e:' .. place,
    mover = base .. 'm:' .. place,
  }
end

-- The first of some leases, and those behind it as they stand; nothing of none.
local function first_lease(bytes)
  if bytes == '' then
    return nil, ''
  end
  local lease, length = {}, nil
  lease.mark, lease.fence, lease.acquired, lease.expires, lease.duration, lease.ended, lease.lapse,
    lease.why, length = struct.unpack('>c22I8I8I8I8I8BBI2', bytes)
  lease.blob = string.sub(bytes, 67, 66 + length)
  return lease, string.sub(bytes, 67 + length)
end

local function parse(bytes)
  local tenure, size = {}, nil
  tenure.fence, tenure.span, tenure.deadline, tenure.ends, size =
    struct.unpack('>I8I8I8I8B', bytes)
  tenure.place = string.sub(bytes, 34, 33 + size)
  tenure.lease, tenure.older = first_lease(string.sub(bytes, 34 + size))
  return tenure
end

-- Reads a tenure; nothing of one that is damaged, which must not hold up all others of its pool.
local function open(bytes)
  local whole, tenure = pcall(parse, bytes)
  return whole and tenure or nil
end

-- Writes a tenure, as it was read but for what was changed.
local function close(tenure)
  local head = struct.pack('>I8I8I8I8B', tenure.fence, tenure.span, tenure.deadline, tenure.ends,
    #tenure.place) .. tenure.place
  local lease = tenure.lease
  if not lease then
    return head
  end
  local newest = struct.pack('>c22I8I8I8I8I8BBI2', lease.mark, lease.fence, lease.acquired,
    lease.expires, lease.duration, lease.ended, lease.lapse, lease.why, #lease.blob)
  return head .. newest .. lease.blob .. tenure.older
end

-- The newest lease, if it is in force.
local function live(tenure, now)
  local lease = tenure.lease
  return lease and lease.ended == 0 and now < lease.expires and lease or nil
end

-- Lets the newest lease last until a time, but not beyond its token.
local function last_until(tenure, wanted)
  local lease = tenure.lease
  if tenure.ends ~= 0 and tenure.ends < wanted then
    lease.expires, lease.lapse = tenure.ends, 3
  else
    lease.expires, lease.lapse = wanted, 2
  end
end

-- Restarts the clock of the token's life.
local function beat(tenure, now)
  local lease = live(tenure, now)
  local from = lease and lease.expires or now
  tenure.deadline = tenure.span ~= 0 and from + tenure.span or 0
end

-- In which of its pool's sets a token stands that is neither revoked nor disabled, and until when at
-- least; none, and since when, for one that nobody kept alive. The clock stood still in the absences,
-- each of which is two numbers of 8 bytes, behind one that says when the authority was seen last.
local function standing(tenure, now, absences)
  if not tenure then
    -- Its tenure cannot be read; it may be mended, so it is kept.
    return 'out', '+inf'
  end
  local lease = live(tenure, now)
  if lease then
    return 'held', text(lease.expires)
  end
  local deadline = tenure.span ~= 0 and tenure.deadline or 0
  for at = 9, #absences, 16 do
    local from, till = struct.unpack('>I8I8', absences, at)
    if deadline <= from then
      break
    end
    deadline = math.max(deadline, till + tenure.span)
  end
  local ends = tenure.ends
  local expires = ends ~= 0 and (deadline == 0 or ends <= deadline)
  local till = expires and ends or deadline
  if till == 0 then
    return 'free', '+inf'
  elseif now < till then
    return 'free', text(till)
  elseif expires then
    return 'out', '+inf'
  end
  return nil, till
end

-- Whether an absence that is noticed later could begin before that instant. Nobody may be taken to be
-- gone since then before the authority was seen: the absence would bring it back.
local function unseen(absences, since)
  return struct.unpack('>I8', absences) < since
end

-- Puts a token into one set of its pool and out of the others; into none where none is named.
local function put(pool, rest, set, till)
  for _, other in ipairs({ 'free', 'held', 'out' }) do
    if other ~= set then
      redis.call('ZREM', pool[other], rest)
    end
  end
  if set then
    redis.call('ZADD', pool[set], till, rest)
  end
end

-- What is told of tokens, in the numbers of src/store/redis/events/stored.rs.
local CREATED, DELETED, LEASED, RELEASED, LEASE_EXPIRED = 1, 5, 8, 9, 10
-- Why a lease is over that its token's end has ended.
local REVOKED = 3

-- Notes for the log what happened to a token, whose record and tenure are given; "" for no tenure.
-- Read by src/store/redis/events/outbox.rs.
local function tell(pool, kind, rest, time, record, tenure)
  local head = struct.pack('>Bc14I8I4', kind, rest, time, #record)
  redis.call('RPUSH', pool.events, head .. record .. tenure)
end

-- Of a tenure and the bytes it was read from or written to, the bytes without all leases but the newest.
local function newest(tenure, bytes)
  return string.sub(bytes, 1, #bytes - #tenure.older)
end

-- Tells that the time of a token's lease was over, unless somebody has: then the token is not among
-- those that are held any more. To be called before it is put anywhere else.
local function tell_lapse(pool, rest, bytes, now, record)
  local tenure = bytes and open(bytes)
  local lease = tenure and tenure.lease
  local over = lease and lease.ended == 0 and lease.expires <= now
  if not over or not redis.call('ZSCORE', pool.held, rest) then
    return
  end
  record = record or redis.call('GET', record_at(rest))
  if record and #record > 8 then
    local kind = lease.lapse == REVOKED and RELEASED or LEASE_EXPIRED
    tell(pool, kind, rest, lease.expires, record, newest(tenure, bytes))
  end
end

-- Puts tokens whose time in their set has come where they belong now, so many of each set at most;
-- answers whether there may be more, or nil where the authority must be seen first.
local function settle(pool, now, absences, most)
  local more = false
  for _, from in ipairs({ 'held', 'free', 'out' }) do
    local due = redis.call('ZRANGE', pool[from], '-inf', text(now), 'BYSCORE', 'LIMIT', 0, most)
    for _, rest in ipairs(due) do
      local bytes = redis.call('GET', tenure_at(rest))
      local set, till
      if bytes then
        set, till = standing(open(bytes), now, absences)
        if not set and unseen(absences, till) then
          return nil
        end
      end
      if from == 'held' then
        tell_lapse(pool, rest, bytes, now)
      end
      -- One that was switched off stays so.
      put(pool, rest, set and from == 'out' and 'out' or set, till)
    end
    more = more or #due == most
  end
  return more
end

-- Tokens of a pool that may be available: those of them whose lease has ended are not moved yet.
local function available(pool, now)
  return redis.call('ZCARD', pool.free) + redis.call('ZCOUNT', pool.held, '-inf', text(now))
end

-- Whether a call that waits has asked lately.
local function is_present(waiter, now)
  local till = redis.call('GET', presence_at(waiter))
  return till and now < tonumber(till)
end

-- Removes those from the head of a queue who have gone, of so many at most; answers whether there were
-- any, and so may be more behind.
local function drop_gone(pool, now, most)
  local dropped = 0
  for _, waiter in ipairs(redis.call('ZRANGE', pool.queue, 0, most - 1)) do
    if not is_present(waiter, now) then
      dropped = dropped + redis.call('ZREM', pool.queue, waiter)
    end
  end
  return dropped > 0
end

-- Rings for as many of those who wait first as there are tokens for. It only makes things sooner, so
-- that a user who may not publish does without.
local function ring(pool, now, channel)
  local first = redis.call('ZRANGE', pool.queue, 0, 63)
  if #first == 0 then
    return
  end
  local count = available(pool, now)
  for _, waiter in ipairs(first) do
    if count < 1 then
      return
    end
    if is_present(waiter, now) then
      redis.pcall('PUBLISH', channel, waiter)
      count = count - 1
    else
      redis.call('ZREM', pool.queue, waiter)
    end
  end
end

-- Gives up the place of a call that waits no longer; answers 1 if it had one, else 0.
local function leave(pool, waiter, now, channel)
  redis.call('DEL', presence_at(waiter))
  local left = redis.call('ZREM', pool.queue, waiter)
  if left == 1 then
    ring(pool, now, channel)
  end
  return left
end

-- Whether a pool's namespace is among those of a text such as ":one:two:"; "*" is all of them.
local function reaches(reach, place)
  local namespace = string.match(place, '^[^:]*')
  return reach == '*' or string.find(reach, ':' .. namespace .. ':', 1, true) ~= nil
end
