-- Gives envelopes of a lease back, due at once. KEYS[1] tag. ARGV: lease, then evpids; none means all. Returns the relays that have work.
local tag, lease = KEYS[1], ARGV[1]
local lease_key = tag .. 'lease:' .. lease
local evpids = {}
for i = 2, #ARGV do
  evpids[#evpids + 1] = ARGV[i]
end
if #evpids == 0 then
  evpids = redis.call('HKEYS', lease_key)
end
local held, relays = {}, {}
for _, evpid in ipairs(evpids) do
  local agent_relay = redis.call('HGET', lease_key, evpid)
  if agent_relay then
    redis.call('HDEL', lease_key, evpid)
    held[#held + 1] = evpid
    relays[#relays + 1] = agent_relay
  end
end
give_back(tag, held, relays, digits(now_ms()))
if redis.call('EXISTS', lease_key) == 0 then
  redis.call('ZREM', tag .. 'leases', lease)
end
return relays
