-- Leaves a relay alone for a while, or no longer. KEYS[1] its wait. ARGV: milliseconds, 0 for no longer.
-- Where the wait is over before it begins, because a permit was freed while the worker that was refused gave its work back, it does not
-- begin: for a second, and once.
if ARGV[1] == '0' then
  redis.call('SET', KEYS[1], 'over', 'PX', 1000)
elseif redis.call('GET', KEYS[1]) == 'over' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], 'wait', 'PX', ARGV[1])
end
return 1
