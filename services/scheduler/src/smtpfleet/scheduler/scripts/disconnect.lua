-- Frees the permits of one connection. KEYS[1] tag of the permits. ARGV: holder route reconnect_delay_ms. Returns the relays for whom
-- one of them is kept now.
local tag, holder, route, reconnect_ms = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local woken = {}
for _, name in ipairs(redis.call('SMEMBERS', tag .. 'holder:' .. holder)) do
  redis.call('ZREM', tag .. 'held:' .. name, holder)
  woken[#woken + 1] = hand_on(tag, name)
end
redis.call('DEL', tag .. 'holder:' .. holder)
if reconnect_ms > 0 then
  redis.call('SET', tag .. 'ended:' .. route, digits(now_ms()), 'PX', reconnect_ms)
end
return woken
