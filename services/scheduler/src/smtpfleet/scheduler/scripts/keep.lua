-- Renews the permits of connections. KEYS[1] tag of the permits. ARGV: lease_ms, then holders. Returns the holders that others wait for.
-- Permits that ran out are not taken again: somebody else may have them.
local tag, lease_ms = KEYS[1], tonumber(ARGV[1])
local until_ms, crowded = digits(now_ms() + lease_ms), {}
for i = 2, #ARGV do
  local crowd = 0
  for _, name in ipairs(redis.call('SMEMBERS', tag .. 'holder:' .. ARGV[i])) do
    redis.call('ZADD', tag .. 'held:' .. name, 'XX', until_ms, ARGV[i])
    redis.call('PEXPIRE', tag .. 'held:' .. name, lease_ms)
    crowd = crowd + redis.call('EXISTS', tag .. 'line:' .. name)
  end
  redis.call('PEXPIRE', tag .. 'holder:' .. ARGV[i], lease_ms)
  if crowd > 0 then
    crowded[#crowded + 1] = ARGV[i]
  end
end
return crowded
