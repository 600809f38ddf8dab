-- Renews leases. KEYS[1] tag. ARGV: lease_ms, then leases. Returns those that are no longer there. A lease past its time that nobody
-- has reaped is still its holder's.
local tag, lease_ms = KEYS[1], tonumber(ARGV[1])
local until_ms, lost = digits(now_ms() + lease_ms), {}
for i = 2, #ARGV do
  if redis.call('ZSCORE', tag .. 'leases', ARGV[i]) then
    redis.call('ZADD', tag .. 'leases', 'XX', until_ms, ARGV[i])
  else
    lost[#lost + 1] = tonumber(ARGV[i])
  end
end
return lost
