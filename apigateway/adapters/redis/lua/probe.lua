-- Ask for the time, and write: what a server has to be able to do in a script before anything else is asked of it.
--
-- KEYS    the value
-- ARGV    milliseconds until it ends
-- Reply   OK
-- Cost    O(1)
-- Expiry  as asked

redis.call('TIME')
return redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
