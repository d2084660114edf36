-- Set or forget a value where it is what is expected.
--
-- KEYS    the value
-- ARGV    milliseconds until the new value ends, 0 to forget it; the new octets; and the expected ones, which are left
--         out where nothing is expected
-- Reply   1 where it was so, else 0
-- Cost    O(1), and the length of the values
-- Expiry  as asked. What is no value, or would never end, was set by nobody of us, and counts as nothing.

local held = redis.pcall('GET', KEYS[1])
-- What else may go wrong but a key of another type is raised by asking again.
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then redis.call('GET', KEYS[1]) end
if type(held) ~= 'string' or redis.call('PTTL', KEYS[1]) < 0 then held = nil end
if held ~= ARGV[3] then return 0 end
if ARGV[1] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
end
return 1
