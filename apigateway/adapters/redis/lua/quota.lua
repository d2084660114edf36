-- Use `cost` units of every quota, or of none where one of them refuses; or look.
--
-- KEYS    the counters, one for each quota
-- ARGV    cost; empty: look. Then for each quota its limit, how many edges its windows have, and the edges, seconds
--         since 1970, rising; fewer than two: one window that is never renewed. Then, where time is simulated, the
--         seconds since 1970, else it is the server's.
-- Reply   1 (granted) or 0; then for each quota the units left, the microseconds until its window ends, and those
--         until it grants as many (0: now); -1 is never. Looking: for each quota the units used, and which edge its
--         window begins at (from 1 on; 0: it is never renewed).
-- Cost    O(edges), and O(windows) where a new one begins; a counter has two windows at most while its edges are kept
-- Expiry  a minute after the last window ends. What is never renewed: 400 days after it was used or refused last
--         (up to one day sooner): a key that never ends would be memory that is lost.
-- A key is a hash: "BEGINS:ENDS" of a window, and the units used in it. One that is none is begun anew.

local GRACE, DAY = 60, 86400
local UNUSED = 400 * DAY
local look = ARGV[1] == ''
local cost = look and 0 or tonumber(ARGV[1])

local quotas, at = {}, 2
for place, key in ipairs(KEYS) do
  local edges = tonumber(ARGV[at + 1])
  quotas[place] = { key = key, limit = tonumber(ARGV[at]), first = at + 2, edges = edges }
  at = at + 2 + edges
end
local now = tonumber(ARGV[at])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end

local function find_window(quota)
  if quota.edges < 2 then
    quota.index, quota.field = 0, '0:inf'
    return
  end
  local index = 0
  while index < quota.edges and tonumber(ARGV[quota.first + index]) <= now do index = index + 1 end
  quota.index = math.min(math.max(index, 1), quota.edges - 1)
  local begins, ends = ARGV[quota.first + quota.index - 1], ARGV[quota.first + quota.index]
  quota.field, quota.ends = begins .. ':' .. ends, tonumber(ends)
end

local function read(quota)
  local used = redis.pcall('HGET', quota.key, quota.field)
  if type(used) == 'table' then
    -- What else may go wrong but a key of another type is raised by asking again.
    if not string.find(used.err, 'WRONGTYPE', 1, true) then redis.call('HGET', quota.key, quota.field) end
    if not look then redis.call('DEL', quota.key) end
    used = false
  end
  quota.fresh = not used
  used = tonumber(used or 0)
  quota.used = used and used >= 0 and used < 2 ^ 53 and math.floor(used) or 0
end

local granted = true
for _, quota in ipairs(quotas) do
  find_window(quota)
  read(quota)
  granted = granted and (cost == 0 or quota.used + cost <= quota.limit)
end

if look then
  local reply = {}
  for _, quota in ipairs(quotas) do
    reply[#reply + 1] = quota.used
    reply[#reply + 1] = quota.index
  end
  return reply
end

local function forget_windows(key)
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local ends = tonumber(string.match(field, ':(.+)$'))
    if not ends or (field ~= '0:inf' and ends + GRACE <= now) then redis.call('HDEL', key, field) end
  end
end

-- Set, and not added to what is there: a counter that is named twice counts once.
local function use(quota)
  if quota.fresh then forget_windows(quota.key) end
  redis.call('HSET', quota.key, quota.field, quota.used + cost)
end

local function keep(quota)
  local wanted = quota.ends and math.max(0, quota.ends - now) + GRACE or UNUSED
  local left = redis.call('PTTL', quota.key)
  -- A window that was counted in before may end later; and once a day is often enough to say that it is used.
  if left ~= -2 and left < (wanted - (quota.ends and 1 or DAY)) * 1000 then
    redis.call('PEXPIRE', quota.key, math.ceil(wanted * 1000))
  end
end

for _, quota in ipairs(quotas) do
  if granted and cost > 0 then use(quota) end
  if cost > 0 then keep(quota) end
end

local reply = { granted and 1 or 0 }
for _, quota in ipairs(quotas) do
  local left = quota.ends and math.ceil(math.max(0, quota.ends - now) * 1000000) or -1
  local wait = 0
  if cost > 0 and quota.used + cost > quota.limit then wait = cost > quota.limit and -1 or left end
  reply[#reply + 1] = math.max(0, quota.limit - quota.used - (granted and cost or 0))
  reply[#reply + 1] = left
  reply[#reply + 1] = wait
end
return reply
