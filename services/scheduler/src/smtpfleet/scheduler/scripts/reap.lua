-- Gives back what leases that ran out still held. KEYS[1] tag. ARGV: leases at most. Returns agent:relay of every envelope given back.
local tag = KEYS[1]
local now = digits(now_ms())
local answer = {}
for _, lease in ipairs(redis.call('ZRANGE', tag .. 'leases', '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])) do
  local held = redis.call('HGETALL', tag .. 'lease:' .. lease)
  local evpids, relays = {}, {}
  for n = 1, #held, 2 do
    evpids[#evpids + 1] = held[n]
    relays[#relays + 1] = held[n + 1]
    answer[#answer + 1] = held[n + 1]
  end
  give_back(tag, evpids, relays, now)
  redis.call('DEL', tag .. 'lease:' .. lease)
  redis.call('ZREM', tag .. 'leases', lease)
end
return answer
