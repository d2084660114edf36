-- Take a place in every capacity, or in none where one of them is full.
--
-- KEYS    the capacities, each once or more often
-- ARGV    who wants to hold the places; for how many seconds; of each capacity how many places it has; then, where
--         time is simulated, the seconds since 1970, else it is the server's
-- Reply   1 (granted) or 0; then for each capacity the places left, 0, and the microseconds until its first place is
--         given back by itself (0 where it is not full)
-- Cost    O(log of the places that are held) for each capacity, and as much for each place whose time is over
-- Expiry  a second after the last place that is held ends.
-- A key is a sorted set: who holds a place, by the time when it ends. One that is none is begun anew.

local GRACE = 1000
local holder, seconds = ARGV[1], tonumber(ARGV[2])
local now = tonumber(ARGV[3 + #KEYS])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end

local full, granted = {}, true
for place, key in ipairs(KEYS) do
  local over = redis.pcall('ZREMRANGEBYSCORE', key, '-inf', now)
  if type(over) == 'table' then
    -- What else may go wrong but a key of another type is raised by asking again.
    if not string.find(over.err, 'WRONGTYPE', 1, true) then redis.call('ZREMRANGEBYSCORE', key, '-inf', now) end
    redis.call('DEL', key)
  end
  full[place] = redis.call('ZCARD', key) >= tonumber(ARGV[2 + place]) and not redis.call('ZSCORE', key, holder)
  granted = granted and not full[place]
end

if granted then
  local wanted = math.ceil(seconds * 1000) + GRACE
  for _, key in ipairs(KEYS) do
    redis.call('ZADD', key, now + seconds, holder)
    -- Others may hold theirs for longer.
    if redis.call('PTTL', key) < wanted then redis.call('PEXPIRE', key, wanted) end
  end
end

local reply = { granted and 1 or 0 }
for place, key in ipairs(KEYS) do
  local wait = 0
  if full[place] then
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    wait = math.ceil((first[2] and first[2] - now or seconds) * 1000000)
  end
  reply[#reply + 1] = math.max(0, ARGV[2 + place] - redis.call('ZCARD', key))
  reply[#reply + 1] = 0
  reply[#reply + 1] = wait
end
return reply
