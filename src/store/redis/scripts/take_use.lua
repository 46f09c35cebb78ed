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

local record, rates_text, quota_text, batches_text =
  unpack(redis.call('MGET', KEYS[1], KEYS[2], KEYS[3], KEYS[4]))
local now = tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local late = tonumber(ARGV[2])
if not record or string.sub(record, 1, 8) ~= ARGV[1] or (late and late <= now) then
  return { 'moved', record, string.format('%.0f', now) }
end

local function words(text)
  local list = {}
  for word in string.gmatch(text or '', '%S+') do
    list[#list + 1] = word
  end
  return list
end

-- So many uses, at most the burst: it may have been lowered after they were granted.
local function in_units(rate, uses)
  return math.min(uses, rate.full / rate.step) * rate.step
end

local cost, spend = tonumber(ARGV[3]), ARGV[4] == 'spend'

-- Batches of this grant, and those that ended since the rate limits were written, by their end.
local batches, ended, held, quota_since = {}, {}, 0, nil
if batches_text then
  local stored = words(batches_text)
  quota_since = stored[2]
  for at = 3, stored[1] == ARGV[7] and #stored or 0, 5 do
    local batch = {
      id = stored[at],
      uses = tonumber(stored[at + 1]),
      of_quota = stored[at + 2] == '1',
      stop = tonumber(stored[at + 3]),
      settled = stored[at + 4] == '1',
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
local stored = words(rates_text)
local first = ended[1] and ended[1].stop or now
if stored[1] == ARGV[7] then
  written = tonumber(stored[2])
  for at = 3, #stored, 4 do
    known[stored[at]] = {
      step = tonumber(stored[at + 1]),
      drain = tonumber(stored[at + 2]),
      units = tonumber(stored[at + 3]),
    }
  end
end
local elapsed = written and math.max(first - written, 0) or 0
local count = tonumber(ARGV[9])
local rates = {}
for at = 1, count do
  local base = 9 + (at - 1) * 4
  local rate = {
    name = ARGV[base + 1],
    step = tonumber(ARGV[base + 2]),
    drain = tonumber(ARGV[base + 3]),
    full = tonumber(ARGV[base + 4]),
  }
  local before = known[rate.name] or { step = rate.step, drain = rate.drain, units = 0 }
  if before.step == rate.step and before.drain == rate.drain then
    rate.units = math.max(math.min(before.units, rate.full) - elapsed * rate.drain, 0)
  else
    -- Counted at another pace: spent, in whole uses, until drained at that one or at the present.
    local function present(units)
      return math.min(math.ceil(units / before.step), rate.full / rate.step) * rate.step
    end
    rate.units = math.min(
      present(math.max(before.units - elapsed * before.drain, 0)),
      math.max(present(before.units) - elapsed * rate.drain, 0)
    )
  end
  if ended[1] then
    local from = math.max(first, written or first)
    for _, batch in ipairs(ended) do
      local drained = rate.units - math.max(batch.stop - from, 0) * rate.drain
      rate.units = math.min(math.max(drained, 0) + in_units(rate, batch.uses), rate.full)
      from = math.max(from, batch.stop)
    end
    rate.units = math.max(rate.units - math.max(now - from, 0) * rate.drain, 0)
  end
  rates[at] = rate
end

-- The quota: what was left, shifted by a changed limit, or all of it after the border of a period.
local base = 10 + count * 4
local limit = tonumber(ARGV[base])
local left, border, seen
local returnable = function()
  return false
end
if limit then
  local period, created = tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2])
  local since = ARGV[base + 3]
  local quota = words(quota_text)
  if quota[1] ~= since then
    quota = { since, since, ARGV[base + 5], ARGV[base + 4] }
  end
  local function window(at)
    return period and math.floor(math.max(at - created, 0) / period) or 0
  end
  local present, overdrawn = window(now), false
  seen = math.max(now, tonumber(quota[2]))
  border = period and created + (present + 1) * period
  if not tonumber(quota[4]) or present > window(tonumber(quota[2])) then
    left = limit
  else
    left = tonumber(quota[4]) + limit - tonumber(quota[3])
    overdrawn = left < 0
    left = math.max(left, 0)
  end
  if quota_since == since and not overdrawn then
    returnable = function(batch)
      local granted = batch.stop - TERM
      return window(granted) == present and now < granted + RETURN_MAX
    end
  end
end

-- Kept are those that live, and those of which the quota may still get something back.
if batches_text then
  local kept = {}
  for _, batch in ipairs(batches) do
    batch.of_quota = batch.of_quota and returnable(batch)
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

local ahead, returned, quota_moved = { '-' , '0', '-', '0' }, false, false
if spend and ARGV[8] ~= '' then
  ahead = words(ARGV[8])
end
if ahead[1] ~= '-' then
  for at, batch in ipairs(batches) do
    if batch.id == ahead[1] then
      local unused = math.min(tonumber(ahead[2]), batch.uses)
      if not batch.settled then
        held = held - batch.uses
        for _, rate in ipairs(rates) do
          rate.units = math.min(rate.units + in_units(rate, batch.uses - unused), rate.full)
        end
      end
      if batch.of_quota then
        left = math.min(left + unused, limit)
        quota_moved = true
      end
      table.remove(batches, at)
      returned = true
      break
    end
  end
end

-- Whether so many uses are left of all limits, or which stands against them.
local of_quota = limit and ARGV[5] == 'all'
local function verdict_on(uses)
  for _, rate in ipairs(rates) do
    local spent = rate.units + in_units(rate, held)
    if uses > rate.full / rate.step or spent + uses * rate.step > rate.full then
      return 'rate'
    end
  end
  return of_quota and uses > left and 'quota' or 'admitted'
end

local function granted()
  local uses = tonumber(ahead[4])
  if not (rates[1] or of_quota) or #batches >= BATCHES_MAX then
    return 0
  end
  for _, batch in ipairs(batches) do
    if batch.id == ahead[3] then
      return 0
    end
  end
  for _, rate in ipairs(rates) do
    local room = math.max(math.floor(rate.full / rate.step / HELD_PART) - held, 0)
    uses = math.min(uses, math.floor(room / 2))
  end
  if of_quota then
    uses = math.min(uses, math.floor(limit / QUOTA_PART))
  end
  if uses < 2 or verdict_on(2 * uses) ~= 'admitted' then
    return 0
  end
  return uses
end

local verdict, grant = verdict_on(cost), 0
if verdict == 'admitted' and spend then
  for _, rate in ipairs(rates) do
    rate.units = rate.units + cost * rate.step
  end
  if of_quota then
    left = left - cost
    quota_moved = true
  end
  if ahead[3] ~= '-' then
    grant = granted()
  end
  if grant > 0 then
    batches[#batches + 1] = {
      id = ahead[3],
      uses = grant,
      of_quota = of_quota,
      stop = now + TERM,
      settled = false,
    }
    held = held + grant
    if of_quota then
      left = left - grant
    end
  end
end

if spend and (verdict == 'admitted' or returned) then
  local time = math.max(now, written or now)
  local text, drained, last = { ARGV[7], string.format('%.0f', time) }, 0, time
  for _, rate in ipairs(rates) do
    drained = math.max(drained, (rate.units + in_units(rate, held)) / rate.drain)
    text[#text + 1] = rate.name
    text[#text + 1] = string.format('%.0f', rate.step)
    text[#text + 1] = string.format('%.0f', rate.drain)
    text[#text + 1] = string.format('%.0f', rate.units)
  end
  local list = {}
  for _, batch in ipairs(batches) do
    last = math.max(last, batch.stop)
    local of, over = batch.of_quota and 1 or 0, batch.settled and 1 or 0
    list[#list + 1] = string.format('%s %.0f %d %.0f %d', batch.id, batch.uses, of, batch.stop, over)
  end
  -- Kept a minute longer than they say anything; each says something for as long as the other.
  local kept = string.format('%.0f', math.ceil((drained + last - now) / 1000) + 60000)
  if count > 0 then
    redis.call('SET', KEYS[2], table.concat(text, ' '), 'PX', kept)
  end
  if list[1] then
    local head = ARGV[7] .. ' ' .. (limit and ARGV[base + 3] or '0') .. ' '
    redis.call('SET', KEYS[4], head .. table.concat(list, ' '), 'PX', kept)
  elseif batches_text then
    redis.call('DEL', KEYS[4])
  end
  if quota_moved then
    local value = string.format('%s %.0f %.0f %.0f', ARGV[base + 3], seen, limit, left)
    if border then
      local until_border = math.ceil((border - now) / 1000) + 60000
      redis.call('SET', KEYS[3], value, 'PX', string.format('%.0f', until_border))
    else
      redis.call('SET', KEYS[3], value)
    end
  end
end

local reply = { verdict, string.format('%.0f', now) }
for _, rate in ipairs(rates) do
  reply[#reply + 1] = string.format('%.0f', rate.units + in_units(rate, held))
end
reply[#reply + 1] = left and string.format('%.0f', left) or ''
reply[#reply + 1] = string.format('%.0f', grant)
return reply
