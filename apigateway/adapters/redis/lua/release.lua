-- Give places back.
--
-- KEYS    the capacities
-- ARGV    who holds the places
-- Reply   how many were held
-- Cost    O(log of the places that are held) for each capacity
-- Expiry  as it was; a capacity of which nothing is held has no key

local given_back = 0
for _, key in ipairs(KEYS) do
  local removed = redis.pcall('ZREM', key, ARGV[1])
  if type(removed) == 'number' then
    given_back = given_back + removed
  elseif not string.find(removed.err, 'WRONGTYPE', 1, true) then
    redis.call('ZREM', key, ARGV[1]) -- raises what went wrong
  end
end
return given_back
