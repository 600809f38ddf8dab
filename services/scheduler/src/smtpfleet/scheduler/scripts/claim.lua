-- Moves due envelopes under a new lease. KEYS[1] tag. ARGV: agent lease_ms batch per_relay relays, then relay names; with none named
-- the script serves the relays whose turn it is, `relays` of them at most, in the order they have waited.
-- Returns lease, then per relay: name, {evpids}, {homes}. Nothing due: lease 0.
local tag, agent, lease_ms = KEYS[1], ARGV[1], tonumber(ARGV[2])
local batch, per_relay = tonumber(ARGV[3]), tonumber(ARGV[4])
local ready_key = tag .. 'ready:' .. agent
local now = now_ms()
-- Turns are told apart within a millisecond, else a relay just served would be drawn again by its name.
local time = redis.call('TIME')
local turn = string.format('%.3f', time[1] * 1000 + time[2] / 1000)
local relays = {}
if #ARGV > 5 then
  for i = 6, #ARGV do
    relays[#relays + 1] = ARGV[i]
  end
else
  relays = redis.call('ZRANGE', ready_key, '-inf', turn, 'BYSCORE', 'LIMIT', 0, ARGV[5])
end

local function home_of(msgid, known)
  local home = known[msgid]
  if home == nil then
    local meta = redis.call('HGET', tag .. 'msg:' .. msgid, 'm')
    home = meta and string.match(meta, '^[^|]*|[^|]*|[^|]*|([^|]*)') or ''
    known[msgid] = home
  end
  return home
end

local answer, lease, taken, known = { 0 }, nil, 0, {}
for _, relay in ipairs(relays) do
  local due_key = tag .. 'due:' .. agent .. ':' .. relay
  local want = math.min(batch - taken, per_relay)
  if want <= 0 then
    break
  end
  local evpids = redis.call('ZRANGE', due_key, '-inf', digits(now), 'BYSCORE', 'LIMIT', 0, want)
  if #evpids > 0 then
    if not lease then
      lease = digits(redis.call('INCR', tag .. 'fence'))
    end
    local fields, homes = {}, {}
    for n, evpid in ipairs(evpids) do
      fields[#fields + 1] = evpid
      fields[#fields + 1] = agent .. ':' .. relay
      homes[n] = home_of(string.sub(evpid, 1, 16), known)
    end
    redis.call('ZREM', due_key, unpack(evpids))
    redis.call('HSET', tag .. 'lease:' .. lease, unpack(fields))
    taken = taken + #evpids
    answer[#answer + 1] = relay
    answer[#answer + 1] = evpids
    answer[#answer + 1] = homes
  end
  local next_due = redis.call('ZRANGE', due_key, 0, 0, 'WITHSCORES')
  if #next_due == 0 then
    redis.call('ZREM', ready_key, relay)
  else
    -- More is due: this relay's next turn comes after those that wait since before now.
    local next_at = tonumber(next_due[2])
    redis.call('ZADD', ready_key, next_at > now and digits(next_at) or turn, relay)
  end
end
if lease then
  redis.call('ZADD', tag .. 'leases', digits(now + lease_ms), lease)
  redis.call('HINCRBY', tag .. 'count', 'inflight', taken)
  answer[1] = tonumber(lease)
end
return answer
