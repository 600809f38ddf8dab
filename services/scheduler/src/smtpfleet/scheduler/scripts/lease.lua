-- Functions on leases, put in front of the scripts that need them. Keys: contracts/keys.py; `tag` is the shard's hash tag.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Numbers go into keys and scores without an exponent.
local function digits(number)
  return string.format('%.0f', number)
end

-- Puts envelopes of a lease back to be due at once: evpids and, in the same order, their agent:relay.
local function give_back(tag, evpids, agent_relays, now)
  local due = {}
  for n, evpid in ipairs(evpids) do
    local members = due[agent_relays[n]]
    if not members then
      members = {}
      due[agent_relays[n]] = members
    end
    members[#members + 1] = now
    members[#members + 1] = evpid
  end
  for agent_relay, members in pairs(due) do
    redis.call('ZADD', tag .. 'due:' .. agent_relay, unpack(members))
    local colon = string.find(agent_relay, ':', 1, true)
    redis.call('ZADD', tag .. 'ready:' .. string.sub(agent_relay, 1, colon - 1), 'LT', now, string.sub(agent_relay, colon + 1))
  end
  if #evpids > 0 then
    redis.call('HINCRBY', tag .. 'count', 'inflight', -#evpids)
  end
end
