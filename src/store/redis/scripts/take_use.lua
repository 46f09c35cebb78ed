#!lua flags=allow-oom
-- Takes a use from all limits of a token, or from none of them.
-- KEYS[1]  record of the token
-- KEYS[2]  what is spent of its rate limits: "since time", then
--          " name step drain units" for each
-- KEYS[3]  what is spent of its quota: "since time limit left"
-- ARGV[1]  revision that was judged (8 bytes, big-endian)
-- ARGV[2]  first instant at which the judgement no longer holds, in microseconds since 1970, or ""
-- ARGV[3]  cost of the use
-- ARGV[4]  "spend", or "look" to change nothing
-- ARGV[5]  which limits the use counts against: "all", or "rates"
-- ARGV[6]  the time in microseconds since 1970; "" for the server's
-- ARGV[7]  since when uses count against the rate limits, in microseconds since 1970
-- ARGV[8]  how many rate limits follow
-- ARGV[9…] for each: name, step, drain and full of its pace, in its units
-- then     "" without a quota, else its limit; its period in microseconds or "";
--          the token's creation; since when uses count against the quota, both in microseconds since
--          1970; what was left then and of which limit, both "" where that was all
-- Reply    {"moved", value of the record or nil, time in microseconds as text}, or
--          {"admitted" | "rate" | "quota", time as text, units of each rate limit as text…,
--          what is left of the quota as text, or ""}
-- Atomic, because of uses at the same time no more may pass than the limits allow, and none of a
-- token that changed after it was judged.
-- It may pass the memory limit: being full is no reason to refuse a use, or to let it be free.
local record = redis.call('GET', KEYS[1])
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

local cost, spend = tonumber(ARGV[3]), ARGV[4] == 'spend'
local verdict = 'admitted'

-- Rate limits: what was spent under each name, drained until now.
local known, elapsed = {}, 0
local stored = words(redis.call('GET', KEYS[2]))
if stored[1] == ARGV[7] then
  elapsed = math.max(now - tonumber(stored[2]), 0)
  for at = 3, #stored, 4 do
    known[stored[at]] = {
      step = tonumber(stored[at + 1]),
      drain = tonumber(stored[at + 2]),
      units = tonumber(stored[at + 3]),
    }
  end
end
local time = stored[1] == ARGV[7] and math.max(now, tonumber(stored[2])) or now
local count = tonumber(ARGV[8])
local rates = {}
for at = 1, count do
  local base = 8 + (at - 1) * 4
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
  if cost > rate.full / rate.step or rate.units + cost * rate.step > rate.full then
    verdict = 'rate'
  end
  rates[at] = rate
end

-- The quota: what was left, shifted by a changed limit, or all of it after the border of a period.
local base = 9 + count * 4
local limit = tonumber(ARGV[base])
local left, border, seen
if limit then
  local period, created = tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2])
  local since = ARGV[base + 3]
  local quota = words(redis.call('GET', KEYS[3]))
  if quota[1] ~= since then
    quota = { since, since, ARGV[base + 5], ARGV[base + 4] }
  end
  local function window(at)
    return period and math.floor(math.max(at - created, 0) / period) or 0
  end
  local present = window(now)
  seen = math.max(now, tonumber(quota[2]))
  border = period and created + (present + 1) * period
  if not tonumber(quota[4]) or present > window(tonumber(quota[2])) then
    left = limit
  else
    left = math.max(tonumber(quota[4]) + limit - tonumber(quota[3]), 0)
  end
  if verdict == 'admitted' and ARGV[5] == 'all' and cost > left then
    verdict = 'quota'
  end
end

if verdict == 'admitted' and spend then
  local text, drained = { ARGV[7], string.format('%.0f', time) }, 0
  for _, rate in ipairs(rates) do
    rate.units = rate.units + cost * rate.step
    drained = math.max(drained, rate.units / rate.drain)
    text[#text + 1] = rate.name
    text[#text + 1] = string.format('%.0f', rate.step)
    text[#text + 1] = string.format('%.0f', rate.drain)
    text[#text + 1] = string.format('%.0f', rate.units)
  end
  -- Kept a minute longer than it says anything.
  if count > 0 then
    local kept = math.ceil((drained + time - now) / 1000) + 60000
    redis.call('SET', KEYS[2], table.concat(text, ' '), 'PX', string.format('%.0f', kept))
  end
  if limit and ARGV[5] == 'all' then
    left = left - cost
    local value = string.format('%s %.0f %.0f %.0f', ARGV[base + 3], seen, limit, left)
    if border then
      local kept = math.ceil((border - now) / 1000) + 60000
      redis.call('SET', KEYS[3], value, 'PX', string.format('%.0f', kept))
    else
      redis.call('SET', KEYS[3], value)
    end
  end
end

local reply = { verdict, string.format('%.0f', now) }
for _, rate in ipairs(rates) do
  reply[#reply + 1] = string.format('%.0f', rate.units)
end
reply[#reply + 1] = left and string.format('%.0f', left) or ''
return reply
