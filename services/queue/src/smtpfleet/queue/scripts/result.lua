-- Applies outcomes to envelopes that their lease still holds. KEYS[1] tag. ARGV: done_ttl_s bounce_at, then per outcome
-- lease evpid action argument due:
--   gone        the envelope is finished (delivered, or failed without anyone to tell)
--   deferred    argument = envelope bytes, due = next attempt
--   delayed     as deferred, and the sender is to be warned
--   failed      argument = envelope bytes; a bounce is to be written
--   delivered   as failed, for a sender who wants to hear of success; the envelope stays until that is written
--   relayed     as delivered, by a peer that will not report itself
--   quarantined argument = reason; stays in the message, is not scheduled
--   waits       nothing is wrong with it, but it cannot be read now; due = when it is looked at again
--   missing     only leaves the lease
-- Returns 1 per outcome that was applied, 0 per one that was refused: its lease does not hold the envelope (any more).
local tag, done_ttl_s, bounce_at = KEYS[1], ARGV[1], ARGV[2]
local agenda, counts, answers = new_agenda(), new_counts(), {}
local touched, leases = {}, {}

local function bounce(msgid, number, kind)
  if redis.call('HSET', tag .. 'bounce:' .. msgid, number, kind) == 1 then
    counts.bouncing = counts.bouncing + 1
  end
  redis.call('ZADD', tag .. 'bounces', bounce_at, msgid)
end

-- Later attempts read the store: no replica's cached copy of this message's envelopes is valid any more.
local function forget_home(key)
  local meta = redis.call('HGET', key, 'm')
  local token, size, chunks, home, created = string.match(meta, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$')
  if home ~= '' then
    redis.call('HSET', key, 'm', token .. '|' .. size .. '|' .. chunks .. '||' .. created)
  end
end

for i = 3, #ARGV, 5 do
  local lease, evpid, action, argument, due = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local lease_key = tag .. 'lease:' .. lease
  local agent_relay = redis.call('HGET', lease_key, evpid)
  if not agent_relay then
    answers[#answers + 1] = 0
  else
    answers[#answers + 1] = 1
    leases[lease] = lease_key
    local msgid, number = string.sub(evpid, 1, 16), string.sub(evpid, 17)
    local key = tag .. 'msg:' .. msgid
    redis.call('HDEL', lease_key, evpid)
    counts.inflight = counts.inflight - 1
    if redis.call('HEXISTS', key, number) == 1 then
      if action == 'gone' then
        redis.call('HDEL', key, number)
        counts.envelopes = counts.envelopes - 1
        touched[msgid] = true
      elseif action == 'deferred' or action == 'delayed' then
        redis.call('HSET', key, number, argument)
        forget_home(key)
        add_to_agenda(agenda, agent_relay, due, evpid)
        if action == 'delayed' then
          bounce(msgid, number, 'delayed')
        end
      elseif action == 'waits' then
        add_to_agenda(agenda, agent_relay, due, evpid)
      elseif action == 'failed' or action == 'delivered' or action == 'relayed' then
        redis.call('HSET', key, number, argument)
        bounce(msgid, number, action)
      elseif action == 'quarantined' then
        if redis.call('HSET', tag .. 'quarantine', evpid, argument) == 1 then
          counts.quarantined = counts.quarantined + 1
        end
      end
    end
  end
end
for msgid in pairs(touched) do
  finish_message(tag, msgid, done_ttl_s, counts)
end
for lease, lease_key in pairs(leases) do
  if redis.call('EXISTS', lease_key) == 0 then
    redis.call('ZREM', tag .. 'leases', lease)
  end
end
write_agenda(tag, agenda)
write_counts(tag, counts)
return answers
