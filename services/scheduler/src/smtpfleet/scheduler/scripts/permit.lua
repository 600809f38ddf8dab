-- Takes or renews one permit. KEYS[1] permits of the relay, KEYS[2] its wait. ARGV: holder limit lease_ms only_renew(0|1).
-- Returns 0 where the holder has it now, -1 where the limit is reached (or, only_renew, where it was lost), else the milliseconds for
-- which the relay is to be left alone.
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', digits(now))
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if redis.call('GET', KEYS[2]) == 'wait' then
    return math.max(1, redis.call('PTTL', KEYS[2]))
  end
  if ARGV[4] == '1' or redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
    return -1
  end
end
redis.call('ZADD', KEYS[1], digits(now + tonumber(ARGV[3])), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 0
