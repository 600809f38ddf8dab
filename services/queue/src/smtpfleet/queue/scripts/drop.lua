-- Removes the chunks of a transaction that ended without a commit. KEYS[1] tag. ARGV: msgid token.
local tag, msgid = KEYS[1], ARGV[1]
if redis.call('GET', tag .. 'token:' .. msgid) == ARGV[2] and redis.call('EXISTS', tag .. 'msg:' .. msgid) == 0 then
  redis.call('DEL', tag .. 'token:' .. msgid, tag .. 'content:' .. msgid)
end
return 1
