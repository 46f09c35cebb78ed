#!lua flags=allow-oom
-- Takes a use from all limits of a token, or from none of them; before that it takes a batch of uses
-- back, and after it, it grants one. The rule is domain/spending's.
-- KEYS[1]  record of the token
-- KEYS[2]  what is spent of its rate limits: "since time", then
--          " name step drain units" for each
-- KEYS[3]  what is spent of its quota: "since time limit left"
-- KEYS[4]  its batches: since when uses counted against the rate limits, and against the quota, then
--          " id uses of_quota end settled" for each, where 1 is yes and 0 is no
-- ARGV[1]  revision that was judged (8 bytes, big-endian)
-- ARGV[2]  first instant at which the judgement no longer holds, in microseconds since 1970, or ""
-- ARGV[3]  cost of the use
-- ARGV[4]  "spend", or "look" to change nothing
-- ARGV[5]  which limits the use counts against: "all", or "rates"
-- ARGV[6]  the time in microseconds since 1970; "" for the server's
-- ARGV[7]  since when uses count against the rate limits, in microseconds since 1970
-- ARGV[8]  "", or "id unused id uses": the batch that is given back, and the one that is wished for;
--          "- 0" where there is none
-- ARGV[9]  how many rate limits follow
-- ARGV[10…] for each: name, step, drain and full of its pace, in its units
-- then     "" without a quota, else its limit; its period in microseconds or "";
--          the token's creation; since when uses count against the quota, both in microseconds since
--          1970; what was left then and of which limit, both "" where that was all
-- Reply    {"moved", value of the record or nil, time in microseconds as text}, or
--          {"admitted" | "rate" | "quota", time as text, units of each rate limit as text…,
--          what is left of the quota as text, or "", how many uses were granted as text}
-- Atomic, because of uses at the same time no more may pass than the limits allow, and none of a
-- token that changed after it was judged.
-- It may pass the memory limit: being full is no reason to refuse a use, or to let it be free.
local TERM = 100000
local RETURN_MAX = 10000000
local HELD_PART = 40
local QUOTA_PART = 100
local BATCHES_MAX = 32

local max, min, floor, format = math.max, math.min, math.floor, string.format
local record, rates_text, quota_text, batches_text =
  unpack(redis.call('MGET', KEYS[1], KEYS[2], KEYS[3], KEYS[4]))
local now = tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local late = tonumber(ARGV[2])
if not record or string.sub(record, 1, 8) ~= ARGV[1] or (late and late <= now) then
  return { 'moved', record, format('%.0f', now) }
end

-- So many uses, at most the burst: it may have been lowered after they were granted.
local function in_units(rate, uses)
  return min(uses, rate.full / rate.step) * rate.step
end

local cost, spend = tonumber(ARGV[3]), ARGV[4] == 'spend'

-- Batches of this grant, and those that ended since the rate limits were written, by their end.
local batches, ended, held, quota_since = {}, {}, 0, nil
if batches_text then
  local since, of, list = string.match(batches_text, '^(%d+) (%d+)(.*)$')
  quota_since = of
  for id, uses, quota, stop, settled in
    string.gmatch(since == ARGV[7] and list or '', ' (%d+) (%d+) (%d) (%d+) (%d)')
  do
    local batch = {
      id = id,
      uses = tonumber(uses),
      of_quota = quota == '1',
      stop = tonumber(stop),
      settled = settled == '1',
    }
    batches[#batches + 1] = batch
    if batch.stop <= now and not batch.settled then
      ended[#ended + 1] = batch
    end
  end
  table.sort(ended, function(one, other)
    return one.stop < other.stop
  end)
end

-- Rate limits: what was spent under each name, drained until now; what was used of a batch counts
-- from its end on.
local known, written = {}, nil
local first = ended[1] and ended[1].stop or now
if rates_text then
  local since, time, list = string.match(rates_text, '^(%d+) (%d+)(.*)$')
  if since == ARGV[7] then
    written = tonumber(time)
    for name, step, drain, units in string.gmatch(list, ' (%S+) (%d+) (%d+) (%d+)') do
      known[name] = { step = tonumber(step), drain = tonumber(drain), units = tonumber(units) }
    end
  end
end
local elapsed = written and max(first - written, 0) or 0
local count = tonumber(ARGV[9])
local rates = {}
for at = 1, count do
  local base = 9 + (at - 1) * 4
  local rate = {
    name = ARGV[base + 1],
    step = tonumber(ARGV[base + 2]),
    drain = tonumber(ARGV[base + 3]),
    full = tonumber(ARGV[base + 4]),
    pace = ARGV[base + 2] .. ' ' .. ARGV[base + 3],
    units = 0,
  }
  local before = known[rate.name]
  if before and before.step == rate.step and before.drain == rate.drain then
    rate.units = max(min(before.units, rate.full) - elapsed * rate.drain, 0)
  elseif before then
    -- Counted at another pace: spent, in whole uses, until drained at that one or at the present.
    local function present(units)
      return min(math.ceil(units / before.step), rate.full / rate.step) * rate.step
    end
    rate.units = min(
      present(max(before.units - elapsed * before.drain, 0)),
      max(present(before.units) - elapsed * rate.drain, 0)
    )
  end
  if ended[1] then
    local from = max(first, written or first)
    for _, batch in ipairs(ended) do
      local drained = rate.units - max(batch.stop - from, 0) * rate.drain
      rate.units = min(max(drained, 0) + in_units(rate, batch.uses), rate.full)
      from = max(from, batch.stop)
    end
    rate.units = max(rate.units - max(now - from, 0) * rate.drain, 0)
  end
  rates[at] = rate
end

-- The quota: what was left, shifted by a changed limit, or all of it after the border of a period.
local base = 10 + count * 4
local limit = tonumber(ARGV[base])
local left, border, seen
if limit then
  local period, created = tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2])
  local since = ARGV[base + 3]
  local known_since, time, of, known_left =
    string.match(quota_text or '', '^(%d+) (%d+) (%d+) (%d+)$')
  if known_since ~= since then
    time, of, known_left = since, ARGV[base + 5], ARGV[base + 4]
  end
  time, known_left = tonumber(time), tonumber(known_left)
  local function window(at)
    return period and floor(max(at - created, 0) / period) or 0
  end
  local present, overdrawn = window(now), false
  seen = max(now, time)
  border = period and created + (present + 1) * period
  if not known_left or present > window(time) then
    left = limit
  else
    left = known_left + limit - tonumber(of)
    overdrawn = left < 0
    left = max(left, 0)
  end
  -- What is unused of a batch comes back to its own grant and period only, and not for ever. What is
  -- overdrawn since the limit was lowered, nobody has to make up for; but what comes back was part of it.
  for _, batch in ipairs(batches) do
    local granted = batch.stop - TERM
    batch.returnable = quota_since == since
      and not overdrawn
      and window(granted) == present
      and now < granted + RETURN_MAX
  end
end

-- Kept are those that live, and those of which the quota may still get something back.
if batches_text then
  local kept = {}
  for _, batch in ipairs(batches) do
    batch.of_quota = batch.of_quota and batch.returnable
    batch.settled = batch.settled or batch.stop <= now
    if not batch.settled then
      held = held + batch.uses
    end
    if batch.of_quota or not batch.settled then
      kept[#kept + 1] = batch
    end
  end
  batches = kept
end

local back, unused, wish, wished = string.match(ARGV[8], '^(%S+) (%d+) (%S+) (%d+)$')
local returned, quota_moved = false, false
if back and spend then
  for at, batch in ipairs(batches) do
    if batch.id == back then
      unused = min(tonumber(unused), batch.uses)
      if not batch.settled then
        held = held - batch.uses
        for _, rate in ipairs(rates) do
          rate.units = min(rate.units + in_units(rate, batch.uses - unused), rate.full)
        end
      end
      if batch.of_quota then
        left = min(left + unused, limit)
        quota_moved = true
      end
      table.remove(batches, at)
      returned = true
      break
    end
  end
end

-- What stands against so many uses, beside what is spent and what live batches hold.
local of_quota = limit and ARGV[5] == 'all'
local function verdict_on(uses)
  for at = 1, count do
    local rate = rates[at]
    if uses > rate.full / rate.step or rate.spent + uses * rate.step > rate.full then
      return 'rate'
    end
  end
  return of_quota and uses > left and 'quota' or 'admitted'
end

for at = 1, count do
  local rate = rates[at]
  rate.spent = rate.units + (held > 0 and in_units(rate, held) or 0)
end
local verdict, grant = verdict_on(cost), 0
if verdict == 'admitted' and spend then
  for at = 1, count do
    local rate = rates[at]
    rate.units = rate.units + cost * rate.step
    rate.spent = rate.spent + cost * rate.step
  end
  if of_quota then
    left = left - cost
    quota_moved = true
  end
  local refused = #batches >= BATCHES_MAX or not (rates[1] or of_quota)
  for _, batch in ipairs(batches) do
    refused = refused or batch.id == wish
  end
  if wish and wish ~= '-' and not refused then
    grant = tonumber(wished)
    for _, rate in ipairs(rates) do
      local room = max(floor(rate.full / rate.step / HELD_PART) - held, 0)
      grant = min(grant, floor(room / 2))
    end
    if of_quota then
      grant = min(grant, floor(limit / QUOTA_PART))
    end
    if grant < 2 or verdict_on(2 * grant) ~= 'admitted' then
      grant = 0
    end
  end
  if grant > 0 then
    batches[#batches + 1] = {
      id = wish,
      uses = grant,
      of_quota = of_quota,
      stop = now + TERM,
      settled = false,
    }
    held = held + grant
    for _, rate in ipairs(rates) do
      rate.spent = rate.units + in_units(rate, held)
    end
    if of_quota then
      left = left - grant
    end
  end
end

if spend and (verdict == 'admitted' or returned) then
  local time = max(now, written or now)
  local text, drained, last = ARGV[7] .. format(' %.0f', time), 0, time
  for at = 1, count do
    local rate = rates[at]
    drained = max(drained, rate.spent / rate.drain)
    text = text .. format(' %s %s %.0f', rate.name, rate.pace, rate.units)
  end
  local list = ''
  for _, batch in ipairs(batches) do
    last = max(last, batch.stop)
    local of, over = batch.of_quota and 1 or 0, batch.settled and 1 or 0
    list = list .. format(' %s %.0f %d %.0f %d', batch.id, batch.uses, of, batch.stop, over)
  end
  -- Kept a minute longer than they say anything; each says something for as long as the other.
  local kept = format('%.0f', math.ceil((drained + last - now) / 1000) + 60000)
  if count > 0 then
    redis.call('SET', KEYS[2], text, 'PX', kept)
  end
  if batches[1] then
    local head = ARGV[7] .. ' ' .. (limit and ARGV[base + 3] or '0')
    redis.call('SET', KEYS[4], head .. list, 'PX', kept)
  elseif batches_text then
    redis.call('DEL', KEYS[4])
  end
  if quota_moved then
    local value = format('%s %.0f %.0f %.0f', ARGV[base + 3], seen, limit, left)
    if border then
      local until_border = math.ceil((border - now) / 1000) + 60000
      redis.call('SET', KEYS[3], value, 'PX', format('%.0f', until_border))
    else
      redis.call('SET', KEYS[3], value)
    end
  end
end

local reply = { verdict, format('%.0f', now) }
for at = 1, count do
  reply[at + 2] = format('%.0f', rates[at].spent)
end
reply[count + 3] = left and format('%.0f', left) or ''
reply[count + 4] = grant == 0 and '0' or format('%.0f', grant)
return reply
