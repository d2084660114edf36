-- Let places that are still held end later.
--
-- KEYS    the capacities
-- ARGV    for how many seconds from now on; who holds a place in each capacity; then, where time is simulated, the
--         seconds since 1970, else it is the server's
-- Reply   how many were still held
-- Cost    O(log of the places that are held) for each capacity
-- Expiry  a second after the last place that is held ends

local GRACE = 1000
local seconds = tonumber(ARGV[1])
local now = tonumber(ARGV[2 + #KEYS])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end

local wanted, held = math.ceil(seconds * 1000) + GRACE, 0
for place, key in ipairs(KEYS) do
  local ends = redis.pcall('ZSCORE', key, ARGV[1 + place])
  if type(ends) == 'string' and tonumber(ends) > now then
    redis.call('ZADD', key, now + seconds, ARGV[1 + place])
    if redis.call('PTTL', key) < wanted then redis.call('PEXPIRE', key, wanted) end
    held = held + 1
  elseif type(ends) == 'table' and not string.find(ends.err, 'WRONGTYPE', 1, true) then
    redis.call('ZSCORE', key, ARGV[1 + place]) -- raises what went wrong
  end
end
return held
