-- Counts failures of one name. KEYS[1] failures. ARGV: how many, window_ms. Returns how many there are; the window begins with the first.
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
if count == tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return count
