-- Moves a relay's turn: it stays ready, but is looked at again at another time. KEYS[1] tag. ARGV: agent relay delay_ms (0: now).
-- XX: a relay without pending work is not made ready.
local now = now_ms()
redis.call('ZADD', KEYS[1] .. 'ready:' .. ARGV[1], 'XX', digits(now + tonumber(ARGV[3])), ARGV[2])
return 1
