-- Functions on one message, put in front of the scripts that need them. Keys: contracts/keys.py; `tag` is the shard's hash tag.
-- Argument numbers are positions in ARGV; tables are passed to redis.call in pieces because Lua unpacks at most some thousand values.

local PIECE = 500

-- The store's own clock decides when new mail is due: a replica's copy of it may run some milliseconds ahead.
local function now_ms()
  local time = redis.call('TIME')
  return string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end

-- Sends `command key [option] pairs…` in pieces.
local function in_pieces(command, key, pairs_, option)
  for from = 1, #pairs_, PIECE * 2 do
    local to = math.min(from + PIECE * 2 - 1, #pairs_)
    if option then
      redis.call(command, key, option, unpack(pairs_, from, to))
    else
      redis.call(command, key, unpack(pairs_, from, to))
    end
  end
end

-- Due times collected over many envelopes: due[agent:relay] = {score, evpid, …}, ready[agent][relay] = earliest.
local function new_agenda()
  return { due = {}, ready = {} }
end

local function add_to_agenda(agenda, agent_relay, due_at, evpid)
  local members = agenda.due[agent_relay]
  if not members then
    members = {}
    agenda.due[agent_relay] = members
  end
  members[#members + 1] = due_at
  members[#members + 1] = evpid
  local earliest = agenda.ready[agent_relay]
  if not earliest or tonumber(due_at) < tonumber(earliest) then
    agenda.ready[agent_relay] = due_at
  end
end

local function write_agenda(tag, agenda)
  for agent_relay, members in pairs(agenda.due) do
    in_pieces('ZADD', tag .. 'due:' .. agent_relay, members)
    local colon = string.find(agent_relay, ':', 1, true)
    -- LT: a relay already to be served earlier keeps its turn.
    redis.call('ZADD', tag .. 'ready:' .. string.sub(agent_relay, 1, colon - 1), 'LT',
      agenda.ready[agent_relay], string.sub(agent_relay, colon + 1))
  end
end

-- Writes one message. Its arguments start at ARGV[i]: msgid token size chunks content count, then per envelope number agent:relay
-- bytes; all are due now. Returns the verdict and the next i.
local function commit_message(tag, i, now, home, agenda, counts)
  local msgid, token, size, chunks, content = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4]
  local envelopes = tonumber(ARGV[i + 5])
  local first = i + 6
  local after = first + envelopes * 3
  local key = tag .. 'msg:' .. msgid
  local meta = redis.call('HGET', key, 'm')
  local known = meta and string.match(meta, '^[^|]*') or redis.call('GET', tag .. 'done:' .. msgid)
  if known then
    return known == token and 'ok' or 'taken', after
  end
  if chunks == 0 then
    redis.call('RPUSH', tag .. 'content:' .. msgid, content)
    chunks = 1
  else
    if redis.call('GET', tag .. 'token:' .. msgid) ~= token or redis.call('LLEN', tag .. 'content:' .. msgid) ~= chunks then
      return 'failed', after -- the chunks ran out of time, or are another transaction's
    end
    redis.call('PERSIST', tag .. 'content:' .. msgid)
    redis.call('DEL', tag .. 'token:' .. msgid)
  end
  local fields = { 'm', token .. '|' .. size .. '|' .. chunks .. '|' .. home .. '|' .. now }
  for e = first, after - 1, 3 do
    fields[#fields + 1] = ARGV[e]
    fields[#fields + 1] = ARGV[e + 2]
    add_to_agenda(agenda, ARGV[e + 1], now, msgid .. ARGV[e])
  end
  in_pieces('HSET', key, fields)
  redis.call('ZADD', tag .. 'messages', now, msgid)
  counts.messages = counts.messages + 1
  counts.envelopes = counts.envelopes + envelopes
  counts.bytes = counts.bytes + tonumber(size)
  return 'ok', after
end

-- Removes a message that has no envelope left; its token stays for a while so that a repeated commit is recognised.
local function finish_message(tag, msgid, done_ttl_s, counts)
  local key = tag .. 'msg:' .. msgid
  if redis.call('HLEN', key) ~= 1 then
    return
  end
  local token, size = string.match(redis.call('HGET', key, 'm'), '^([^|]*)|([^|]*)')
  redis.call('DEL', key, tag .. 'content:' .. msgid)
  redis.call('SET', tag .. 'done:' .. msgid, token, 'EX', done_ttl_s)
  redis.call('ZREM', tag .. 'messages', msgid)
  counts.messages = counts.messages - 1
  counts.bytes = counts.bytes - tonumber(size)
end

local function new_counts()
  return { messages = 0, envelopes = 0, bytes = 0, inflight = 0, bouncing = 0, quarantined = 0 }
end

local function write_counts(tag, counts)
  for name, change in pairs(counts) do
    if change ~= 0 then
      redis.call('HINCRBY', tag .. 'count', name, change)
    end
  end
end
