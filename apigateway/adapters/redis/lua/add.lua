-- Set a value where there is none.
--
-- KEYS    the value
-- ARGV    the octets; milliseconds until it ends
-- Reply   1 where it was set, else 0
-- Cost    O(1)
-- Expiry  as asked. What is no value, or would never end, was set by nobody of us, and counts as nothing.

if redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') then return 1 end
if redis.call('PTTL', KEYS[1]) >= 0 and redis.call('TYPE', KEYS[1]).ok == 'string' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
