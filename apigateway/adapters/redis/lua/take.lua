-- Take `cost` units from every counter, or from none where one of them refuses; or look, and take nothing.
--
-- KEYS    the counters, one for each rule. A counter that is named twice counts once.
-- ARGV    cost; empty: look. Then for each rule: algorithm (s sliding window, f fixed window, b token bucket), limit,
--         period in seconds. Then, where time is simulated, the seconds since 1970; else it is the server's.
-- Reply   1 (granted) or 0; then for each rule the units left, the microseconds until all are free, and the
--         microseconds until as many as were asked for are free (0 where the rule does not refuse).
-- Cost    O(1) for a rule. A sliding window has 102 slots at most; each is read once more when it is over, and those
--         in front are read where it refuses.
-- Expiry  a second after nothing of the counter is in use any more.
-- What a key holds is described below. One that holds something else, or a time that is a period ahead, is begun anew;
-- one without an expiry gets it back. Equal, decision by decision, to ports/memory_limits.py.

local GRACE, MOST = 1000, 2 ^ 53
local call, pcall, floor, ceil, max = redis.call, redis.pcall, math.floor, math.ceil, math.max
local format, match = string.format, string.match

local rules = #KEYS
local look = ARGV[1] == ''
local cost = look and 1 or tonumber(ARGV[1])
local now = tonumber(ARGV[2 + 3 * rules])
if not now then
  local time = call('TIME')
  now = time[1] + time[2] / 1000000
end

-- What else may go wrong but a key of another type is no answer, and is raised by asking again.
local function held(key, command, ...)
  local text = pcall(command, key, ...)
  if type(text) == 'table' and not string.find(text.err, 'WRONGTYPE', 1, true) then call(command, key, ...) end
  return type(text) == 'string' and text or ''
end

local function expire_in(seconds)
  return ceil(max(0, seconds) * 1000) + GRACE
end

-- Each makes what an algorithm does with a counter: `read` it; `free` tells the units left; `take` some; `ends` tells
-- when all are free; `wait` how many seconds until so many more are. `tidy`, where there is one, comes after all are
-- read, and before one is taken from.
local algorithms = {}

-- A list. Its last element is "NEWEST COUNT OLDEST USED": the newest slot and its count, the oldest slot, how many units
-- are in use. In front of it stand the slots before the newest, each its number and its count, the oldest first.
-- Slots are hundredths of the period; the units of one are free again when all of it is out of the window.
function algorithms.s()
  local SLOTS, AT_ONCE = 100, 16
  local sliding = {}

  local function begin_anew(counter)
    counter.stale, counter.used, counter.newest = true, 0, nil
  end

  -- Calls `visit` with each slot but the newest, the oldest first, until it returns something; and returns that.
  local function each(counter, visit)
    local at = 0
    while true do
      local some = call('LRANGE', counter.key, at, at + AT_ONCE - 1)
      for place = 1, #some - 1, 2 do
        local slot, count = tonumber(some[place]), tonumber(some[place + 1])
        if not (slot and count) then return end
        local found = visit(slot, count)
        if found then return found end
      end
      if #some < AT_ONCE then return end
      at = at + AT_ONCE
    end
  end

  local function forget(counter, gone)
    local over, left = 0, counter.used
    local oldest = each(counter, function(slot, count)
      if slot >= gone then return slot end
      over, left = over + 2, left - count
    end)
    counter.over, counter.used, counter.oldest = over, left, oldest or counter.newest
    if left < counter.count then begin_anew(counter) end
  end

  function sliding.read(counter)
    local newest, count, oldest, used = match(held(counter.key, 'LINDEX', -1), '^(%d+) (%d+) (%d+) (%d+)$')
    local slot = floor(now * SLOTS / counter.period)
    counter.slot = slot
    if not newest then return begin_anew(counter) end
    newest, used, oldest = tonumber(newest), tonumber(used), tonumber(oldest)
    if newest < slot - SLOTS or newest > slot + SLOTS or used >= MOST then return begin_anew(counter) end
    counter.newest, counter.count, counter.oldest, counter.used = newest, tonumber(count), oldest, used
    if newest > slot then counter.slot = newest end
    if oldest < counter.slot - SLOTS then forget(counter, counter.slot - SLOTS) end
  end

  function sliding.free(counter, limit)
    return limit - counter.used
  end

  local function state_of(counter)
    return format('%.0f %.0f %.0f %.0f', counter.newest, counter.count, counter.oldest, counter.used)
  end

  -- Also where nothing is taken: else a crowd that is refused would read what is over each time.
  function sliding.tidy(counter)
    if counter.stale then
      call('DEL', counter.key)
    elseif counter.over then
      call('LTRIM', counter.key, counter.over, -1)
      call('LSET', counter.key, -1, state_of(counter))
    end
  end

  function sliding.ends(counter)
    return counter.newest and (counter.newest + SLOTS + 1) * counter.period / SLOTS or now
  end

  function sliding.take(counter)
    counter.used = counter.used + cost
    if counter.newest == counter.slot then
      counter.count = counter.count + cost
      call('LSET', counter.key, -1, state_of(counter))
      return
    end
    local newest, count = counter.newest, counter.count
    counter.newest, counter.count, counter.oldest = counter.slot, cost, counter.oldest or counter.slot
    if newest then
      call('RPOP', counter.key)
      call('RPUSH', counter.key, newest, count, state_of(counter))
    else
      call('RPUSH', counter.key, state_of(counter))
    end
    call('PEXPIRE', counter.key, expire_in(sliding.ends(counter) - now))
  end

  function sliding.wait(counter, limit, lacking)
    -- Where it was only looked at, those that are over are there still.
    local freed = 0
    local slot = each(counter, function(slot, count)
      if slot >= (counter.oldest or slot) then freed = freed + count end
      if freed >= lacking then return slot end
    end)
    return slot and (slot + SLOTS + 1) * counter.period / SLOTS - now or sliding.ends(counter) - now
  end

  return sliding
end

-- A string: the number of the window, and how many units of it are in use.
function algorithms.f()
  local fixed = {}

  function fixed.read(counter)
    local window, used = match(held(counter.key, 'GET'), '^(%d+) (%d+)$')
    counter.window, counter.used = floor(now / counter.period), 0
    window, used = tonumber(window), tonumber(used)
    if window and used < MOST and (window == counter.window or window == counter.window + 1) then
      counter.window, counter.used = window, used
    end
  end

  function fixed.free(counter, limit)
    return limit - counter.used
  end

  function fixed.ends(counter)
    return counter.used > 0 and (counter.window + 1) * counter.period or now
  end

  function fixed.take(counter)
    counter.used = counter.used + cost
    local text = format('%.0f %.0f', counter.window, counter.used)
    call('SET', counter.key, text, 'PX', expire_in(fixed.ends(counter) - now))
  end

  function fixed.wait(counter)
    return (counter.window + 1) * counter.period - now
  end

  return fixed
end

-- A string: how many units (and parts of one) are missing from a full bucket, and when that was so.
function algorithms.b()
  -- Rounding must not turn three thirds of a bucket into a little less than one unit.
  local ROUNDING = 1e-9
  local bucket = {}

  function bucket.read(counter)
    local missing, seen = match(held(counter.key, 'GET'), '^([%d.e+-]+) ([%d.]+)$')
    missing, seen = tonumber(missing), tonumber(seen)
    if missing and seen and missing >= 0 and missing < MOST and seen <= now + counter.period then
      counter.missing, counter.seen = missing, seen
    else
      counter.missing, counter.seen = 0, now
    end
  end

  function bucket.free(counter, limit)
    local passed = now - counter.seen
    if passed > 0 then
      counter.missing = max(0, counter.missing - passed * limit / counter.period)
      counter.seen = now
    end
    return floor(limit - counter.missing + ROUNDING)
  end

  function bucket.ends(counter, limit)
    return limit > 0 and counter.seen + counter.missing * counter.period / limit or now
  end

  function bucket.take(counter, limit)
    counter.missing = counter.missing + cost
    local text = format('%.17g %.17g', counter.missing, counter.seen)
    call('SET', counter.key, text, 'PX', expire_in(bucket.ends(counter, limit) - now))
  end

  function bucket.wait(counter, limit, lacking)
    local there = limit - counter.missing
    local short = lacking - (there - floor(there + ROUNDING))
    return short * counter.period / limit
  end

  return bucket
end

local made, counters, asked, granted = {}, {}, {}, true

for rule = 1, rules do
  local key, letter, limit = KEYS[rule], ARGV[3 * rule - 1], tonumber(ARGV[3 * rule])
  local counter = counters[key]
  if not counter then
    local algorithm = made[letter] or algorithms[letter]()
    made[letter] = algorithm
    counter = { key = key, algorithm = algorithm, period = tonumber(ARGV[3 * rule + 1]) }
    algorithm.read(counter)
    counters[key] = counter
  end
  counter.limit = limit
  local free = counter.algorithm.free(counter, limit)
  granted = granted and (free >= cost or cost == 0)
  asked[rule] = { counter = counter, limit = limit, free = free }
end

local function write(counter)
  local algorithm = counter.algorithm
  counter.written = true
  if algorithm.tidy then algorithm.tidy(counter) end
  if granted and cost > 0 then
    algorithm.take(counter, counter.limit)
  elseif call('PTTL', counter.key) == -1 then
    call('PEXPIRE', counter.key, expire_in(algorithm.ends(counter, counter.limit) - now))
  end
end

if not look then
  for rule = 1, rules do
    local counter = asked[rule].counter
    if not counter.written then write(counter) end
  end
end

local reply, taken = { granted and 1 or 0 }, granted and not look and cost or 0
for rule = 1, rules do
  local one = asked[rule]
  local counter, wait = one.counter, 0
  if one.free < cost and cost > 0 then
    wait = cost > one.limit and counter.period or counter.algorithm.wait(counter, one.limit, cost - one.free)
  end
  reply[3 * rule - 1] = max(0, one.free - taken)
  reply[3 * rule] = ceil(max(0, counter.algorithm.ends(counter, one.limit) - now) * 1000000)
  reply[3 * rule + 1] = ceil(max(0, wait) * 1000000)
end
return reply
