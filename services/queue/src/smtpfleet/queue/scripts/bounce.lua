-- Writes a bounce and takes its members out of the original, or does nothing if another replica was faster. KEYS[1] tag.
-- ARGV: msgid home done_ttl_s members, then per member number kind, then messages (0 or 1) and the bounce as commit_message reads it.
-- Returns committed, dropped or stale.
local tag, msgid, home, done_ttl_s, members = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local now = now_ms()
local bounce_key, key = tag .. 'bounce:' .. msgid, tag .. 'msg:' .. msgid
local agenda, counts = new_agenda(), new_counts()
local i = 5
for m = i, i + members * 2 - 1, 2 do
  if redis.call('HGET', bounce_key, ARGV[m]) ~= ARGV[m + 1] then
    return 'stale'
  end
end
for m = i, i + members * 2 - 1, 2 do
  redis.call('HDEL', bounce_key, ARGV[m])
  counts.bouncing = counts.bouncing - 1
  if ARGV[m + 1] ~= 'delayed' and redis.call('HDEL', key, ARGV[m]) == 1 then
    counts.envelopes = counts.envelopes - 1
  end
end
i = i + members * 2
if redis.call('EXISTS', bounce_key) == 0 then
  redis.call('ZREM', tag .. 'bounces', msgid)
end
local answer = 'dropped'
if tonumber(ARGV[i]) == 1 then
  local verdict = commit_message(tag, i + 1, now, home, agenda, counts)
  assert(verdict == 'ok')
  answer = 'committed'
end
if redis.call('EXISTS', key) == 1 then
  finish_message(tag, msgid, done_ttl_s, counts)
end
write_agenda(tag, agenda)
write_counts(tag, counts)
return answer
