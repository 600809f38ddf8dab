-- Leaves a relay alone for a while. KEYS[1] its wait. ARGV: milliseconds.
redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
return 1
