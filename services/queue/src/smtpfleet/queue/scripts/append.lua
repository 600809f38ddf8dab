-- Appends one chunk of a message that is not committed yet. KEYS[1] tag. ARGV: msgid token index data ttl_s. Returns a verdict.
local tag, msgid, token, index = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local meta = redis.call('HGET', tag .. 'msg:' .. msgid, 'm')
local known = meta and string.match(meta, '^[^|]*') or redis.call('GET', tag .. 'done:' .. msgid)
if known then
  return known == token and 'ok' or 'taken'
end
local token_key, content_key = tag .. 'token:' .. msgid, tag .. 'content:' .. msgid
known = redis.call('GET', token_key)
if known and known ~= token then
  return 'taken'
end
local length = redis.call('LLEN', content_key)
if index < length then
  return 'ok' -- a repeated request
end
if index > length or (index > 0 and not known) then
  return 'failed' -- earlier chunks ran out of time
end
redis.call('RPUSH', content_key, ARGV[4])
redis.call('EXPIRE', content_key, ARGV[5])
redis.call('SET', token_key, token, 'EX', ARGV[5])
return 'ok'
