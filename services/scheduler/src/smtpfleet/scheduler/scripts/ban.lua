-- Bans. KEYS[1] bans. ARGV: most bans kept, ban_ms, then `<kind>|<name>` each. Those that have ended go; of too many, those that end first.
local now = now_ms()
local ends = now + tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', digits(now))
for n = 3, #ARGV do
  redis.call('ZADD', KEYS[1], 'GT', digits(ends), ARGV[n])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[1]))
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], digits(tonumber(last[2])))
